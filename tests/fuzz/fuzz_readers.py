"""Feeds the readers of caption files and sounds with bytes that reach ever more of their code (atheris, libFuzzer).

    make fuzz                     ten minutes; FUZZ_SECONDS=60 make fuzz: one
    python -m tests.fuzz.fuzz_readers sounds -max_total_time=60 build/fuzz/sounds

A reader may raise the error of its kind, and nothing else. What fails is kept as a file whose name libFuzzer prints.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import atheris

with atheris.instrument_imports(include=["consistency_tta.audio", "consistency_tta.storage"]):
    from consistency_tta.audio.bad_clip import BadClip
    from consistency_tta.audio.sound_bytes import _remembered
    from consistency_tta.audio.sound_file import read_whole
    from consistency_tta.runtime.errors import DataError
    from consistency_tta.storage.captions import read_clips

#: A file in memory, which is written for every try.
FILE = Path(mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None), "input.any")


def captions(data: bytes) -> None:
    """Read a caption file."""
    FILE.write_bytes(data)
    with suppress(DataError):
        read_clips(FILE)


def sounds(data: bytes) -> None:
    """Read a sound."""
    FILE.write_bytes(data)
    _remembered.cache_clear()
    try:
        sound = read_whole(FILE)
    except BadClip:
        return
    assert len(sound.waveform) > 0
    assert sound.waveform.isfinite().all()


def seeds(target: str) -> list[bytes]:
    """Inputs to begin with: the forms that tests read."""
    if target == "captions":
        from tests.storage.test_captions import FORMS

        return [text.encode() for text in FORMS.values()]
    import numpy as np
    import soundfile

    found = []
    for kind, subtype in (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", None), ("MP3", None),
                          ("RF64", None), ("AIFF", None), ("AU", None), ("CAF", None), ("W64", None)):  # fmt: skip
        file = io.BytesIO()
        soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, (600, 2)), 16000, subtype, format=kind)
        found += [file.getvalue(), file.getvalue() * 2]
    return found


def main() -> None:
    """Fuzz the reader that the first argument names, with libFuzzer's arguments behind it."""
    target, *options = sys.argv[1:]
    named = [Path(option) for option in options if not option.startswith("-")]
    corpus = named[0] if named else Path("build/fuzz", target)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds(target)):
        (corpus / f"seed{number}").write_bytes(content)
    limits = [f"-artifact_prefix={corpus.parent}/{target}-", "-timeout=20", "-rss_limit_mb=4096", "-max_len=20000"]
    options += [] if named else [str(corpus)]  # libFuzzer begins with nothing otherwise
    atheris.Setup([sys.argv[0], *limits, *options], {"captions": captions, "sounds": sounds}[target])
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable()  # of columns that are not read, thousands of times
    main()

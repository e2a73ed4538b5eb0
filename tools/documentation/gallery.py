"""Writes the sounds of the documentation's gallery: ten captions, by the bundled teacher and the bundled student.

    python -m tools.documentation.gallery build/gallery

Nothing is done where the folder has them already, from the same models by the same settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import soundfile
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from consistency_tta.generation.sampling_config import SamplingConfig, Sound, generate_batch
from consistency_tta.pipeline.inference import load_for_generation, prepare_for_generation
from consistency_tta.reporting.spectrogram import spectrogram_png
from consistency_tta.storage.bundled import MODELS
from tools.documentation.gallery_page import DESCRIPTION

#: One caption for each class that the bundled models were trained with.
CAPTIONS = {
    "dog": "A dog barks",
    "rooster": "A rooster crows",
    "crying baby": "A baby cries",
    "sneezing": "A person sneezes",
    "rain": "Rain falls",
    "sea waves": "Ocean waves crash",
    "crackling fire": "A fire crackles",
    "clock tick": "A clock ticks",
    "helicopter": "A helicopter flies",
    "chainsaw": "A chainsaw runs",
}
#: Solver steps of the teacher, each of two queries, and queries of the student.
STEPS = {"teacher": 200, "student": 1}
GUIDANCE_SCALE, SEED = 3.0, 0


def settings_digest(captions: dict[str, str], steps: dict[str, int]) -> str:
    """A checksum of the settings and of the models' weights."""
    digest = hashlib.sha256(json.dumps([captions, steps, GUIDANCE_SCALE, SEED]).encode())
    for name in steps:
        for file in sorted((MODELS / f"tiny-{name}").rglob("*.safetensors")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def write_gallery(folder: Path, captions: dict[str, str], steps: dict[str, int]) -> None:
    """Write a FLAC and a PNG file for each sound, and the description of all; nothing where they are there.

    Args:
        folder: emptied first.
        captions: by the names of the sounds.
        steps: of each model, ``teacher`` and ``student``.
    """
    digest = settings_digest(captions, steps)
    file = folder / DESCRIPTION
    if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["digest"] == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    columns = [
        {"name": name, "queries": write_sounds(folder / name, captions, f"tiny-{name}", count)}
        for name, count in steps.items()
    ]
    description: dict[str, Any] = {"digest": digest, "guidance_scale": GUIDANCE_SCALE, "seed": SEED}
    description |= {"captions": captions, "columns": columns}
    file.write_text(json.dumps(description, indent=2), encoding="utf-8")


def write_sounds(folder: Path, captions: dict[str, str], model: str, steps: int) -> int:
    """Write the sounds of a model and their spectrograms; the number of queries of its network for each sound."""
    folder.mkdir(parents=True)
    pipeline = prepare_for_generation(load_for_generation(model, "float32", "cpu"))
    batch = [Sound(name, caption, (index, 0)) for index, (name, caption) in enumerate(captions.items())]
    made = generate_batch(pipeline, SamplingConfig(GUIDANCE_SCALE, steps, SEED), batch)
    mel = pipeline.mel(made.waveform)
    high = float(mel.max())  # of all sounds: the lightest colour
    for name, waveform, levels in zip(captions, made.waveform, mel, strict=True):
        file = folder / f"{name.replace(' ', '_')}.flac"
        soundfile.write(file, waveform.numpy(), made.sample_rate)
        file.with_suffix(".png").write_bytes(spectrogram_png(levels, high))
    return made.queries


def main(arguments: list[str]) -> None:
    """Write the gallery."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m tools.documentation.gallery FOLDER")
    for logging in (diffusers_logging, transformers_logging):
        logging.disable_progress_bar()
    write_gallery(Path(arguments[0]), CAPTIONS, STEPS)


if __name__ == "__main__":
    main(sys.argv[1:])

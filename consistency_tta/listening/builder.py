"""Makes a listening test: a page for raters, and its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from consistency_tta.listening.clips import clips_of_all, parse_systems
from consistency_tta.listening.form import form
from consistency_tta.listening.key import KEY, PAGE, SCALES, Key, Mode
from consistency_tta.listening.sounds import NOTABLE_CUT, lowest_rate, readable
from consistency_tta.listening.trials import ANCHOR, Preparation, make_trials
from consistency_tta.runtime.errors import ConfigurationError, DataError

#: How many captions a warning names.
NAMED = 3


def make(
    systems: list[str],
    captions: Path,
    output: Path = Path("listening-test"),
    mode: Mode = "rating",
    num_clips: int = 20,
    seed: int = 0,
    reference: str | None = None,
    anchor: bool = False,
    loudness: float | None = -23.0,
    sample_rate: int | None = None,
    seconds: float | None = None,
    title: str = "Listening test",
) -> Path:
    """Write a blinded listening test: one web page for the raters, and a key that stays here.

    Args:
        systems: name=folder, one or more; the files are named as the clips.
        captions: CSV or JSON lines with the clips' names and captions.
        output: folder for the page and its key; must not have a key yet.
        mode: rating shows one sound at a time, to be graded for quality and relevance from 1 to 5; comparison shows
            all sounds of a caption, with sliders from 0 to 100 (MUSHRA-like).
        num_clips: how many clips, chosen at random among those that all systems have.
        seed: of that choice and of the items' names.
        reference: in a comparison, the system that is also shown openly, as the reference.
        anchor: whether to add the reference, low-passed at 3.5 kHz, to a comparison that has one.
        loudness: in LUFS, of all sounds (ITU-R BS.1770-4); lower for all of a caption where one would clip; null leaves
            them as they are.
        sample_rate: of all sounds, in Hz; the lowest of any file if not given.
        seconds: the longest a sound may be; sounds of a caption are cut to the shortest of them in any case.
        title: of the page.

    Returns:
        The page.

    Raises:
        FileExistsError: the output has a test.
        ConfigurationError: options that do not go together.
        DataError: too few clips, or a sound that cannot be used.
    """
    folders = parse_systems(systems)
    _check_options(folders, mode, num_clips, seed, reference, anchor, seconds)
    if (output / KEY).exists():
        raise FileExistsError(f"{output} has a listening test: remove it, or give another --output")
    clips = clips_of_all(captions, folders)
    if len(clips) < num_clips:
        raise DataError(f"expected {num_clips} clips, but only {len(clips)} of {captions} have a sound of every system")
    random = np.random.default_rng(seed)
    chosen = random.choice(len(clips), num_clips, replace=False).tolist()
    spare = [index for index in range(len(clips)) if index not in set(chosen)]
    clips, faults = readable([clips[index] for index in chosen], [clips[index] for index in spare])
    if len(clips) < num_clips:
        raise DataError(
            f"expected {num_clips} clips, but only {len(clips)} have sounds that can be used: "
            f"{'; '.join(faults[:NAMED])}"
        )
    if faults:
        print(f"warning: {len(faults)} clips are left out, and others take their places: {'; '.join(faults[:NAMED])}")
    if sample_rate is None:
        sample_rate = min(lowest_rate(clip.files) for clip in clips)

    trials = make_trials(clips, mode, Preparation(sample_rate, seconds, loudness, reference, anchor), random)
    test = hashlib.sha256(json.dumps([mode, title, trials.shown]).encode()).hexdigest()[:12]
    settings = {
        "captions": str(captions),
        "folders": {name: str(folder.folder) for name, folder in folders.items()},
        "seed": seed,
        "sample_rate": sample_rate,
        "loudness": loudness,
        "seconds": seconds,
    }
    key = Key(test, mode, (*folders, *([ANCHOR] if anchor else [])), reference, trials.items, settings)
    output.mkdir(parents=True, exist_ok=True)
    page = output / PAGE
    page.write_text(form(title, test, SCALES[mode], trials.shown), encoding="utf-8")
    key.save(output)
    if warning := _cut_warning(trials.cut, len(clips)):
        print(warning)
    print(
        f"{page} ({page.stat().st_size / 1e6:.1f} MB): {len(trials.items)} sounds of {len(clips)} captions, "
        f"{len(key.systems)} systems. Give raters the page alone; {output / KEY} has the system of each sound."
    )
    return page


def _check_options(
    systems: Collection[str],
    mode: Mode,
    num_clips: int,
    seed: int,
    reference: str | None,
    anchor: bool,
    seconds: float | None,
) -> None:
    """Refuse what :func:`make` cannot do, before it reads any sound."""
    if reference is not None and (mode != "comparison" or reference not in systems):
        raise ConfigurationError(
            f"expected as reference one of the systems {', '.join(systems)} of a comparison, got {reference!r} and "
            f"mode {mode}"
        )
    if anchor and reference is None:
        raise ConfigurationError("the anchor is made of the reference: name one of the systems as --reference")
    if anchor and ANCHOR in systems:
        raise ConfigurationError(f"{ANCHOR!r} is the anchor's own name: give the system another")
    if seed < 0 or num_clips < 1 or (seconds is not None and seconds <= 0):
        raise ConfigurationError(
            f"expected a seed of at least 0, a positive num_clips and seconds, got {seed}, {num_clips} and {seconds}"
        )


def _cut_warning(cut: Sequence[str], clips: int) -> str:
    """A warning of captions whose longest sound loses much; empty if there are none."""
    if not cut:
        return ""
    more = f" and {len(cut) - NAMED} more" if len(cut) > NAMED else ""
    return (
        f"warning: {len(cut)} of {clips} captions have sounds more than {NOTABLE_CUT} s longer than the shortest, to "
        f"which all of a caption are cut: {', '.join(cut[:NAMED])}{more}"
    )

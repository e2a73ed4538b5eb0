"""The sounds of a caption file, as a folder and as a zip file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consistency_tta.app.models import sample
from consistency_tta.generation.fill import Tally
from consistency_tta.generation.folder import Folder, write_sound, write_tables
from consistency_tta.generation.sampling_config import SamplingConfig, expect_at_least, sounds_of
from consistency_tta.pipeline import TextToAudioPipeline


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        done, total: sounds.
        text: one line for the screen.
        archive: the zip file, when all sounds are in it.
    """

    done: int
    total: int
    text: str
    archive: Path | None = None


def generate_captions(
    pipeline: TextToAudioPipeline,
    captions: Path,
    config: SamplingConfig,
    folder: Path,
    num_samples: int = 1,
    batch_size: int = 8,
) -> Iterator[BatchProgress]:
    """Write the sounds of a caption file into a folder, and the folder into a zip file next to it.

    Names, noise and tables are those of ``consistency-tta generate --captions``: ``<id>.wav`` and ``captions.csv``; of
    several sounds of a clip in the folders ``0``, ``1`` and so on.

    Args:
        pipeline: ready to be sampled.
        captions: of any form that :mod:`consistency_tta.storage.captions` knows.
        config: settings of all sounds.
        folder: empty or new.
        num_samples: sounds of each clip.
        batch_size: sounds generated at a time.

    Yields:
        The progress: before the first sound, after each batch, and at the end.

    Raises:
        DataError: the captions cannot be read.
    """
    expect_at_least(1, batch_size=batch_size)
    target, tally = Folder(folder, config, sounds_of(captions, num_samples)), Tally()
    total = len(target.sounds)
    yield BatchProgress(0, total, f"0 of {total} sounds")
    write_tables(target)
    for start in range(0, total, batch_size):
        batch = target.sounds[start : start + batch_size]
        made = sample(pipeline, config, batch)
        tally.add(made)
        for sound, waveform in zip(batch, made.waveform, strict=True):
            write_sound(folder / sound.file, waveform, made.sample_rate)
        yield BatchProgress(tally.sounds, total, f"{tally.sounds} of {total} sounds: {tally}")
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    yield BatchProgress(total, total, f"{total} {'sound' if total == 1 else 'sounds'}: {tally}", archive)

"""The sounds of a sweep's page: some captions, each with the sound of every setting."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import soundfile
import torch

from consistency_tta.components.mel import full_band_mel
from consistency_tta.evaluation.sweep.facts import Scores
from consistency_tta.generation.folder import CAPTIONS
from consistency_tta.reporting.axes import mel_axes
from consistency_tta.reporting.player import Player
from consistency_tta.reporting.spectrogram import spectrogram_uri
from consistency_tta.reporting.table import Cell

#: How many captions have players.
SHOWN = 3


@dataclass(frozen=True)
class CaptionSounds:
    """Players of one caption, one for each setting."""

    caption: str
    players: Sequence[Player]


def caption_sounds(points: Sequence[tuple[Path, Scores]], output: Path) -> list[CaptionSounds]:
    """Players for the first different captions; they read the wav files where these lie.

    Args:
        points: folders of sounds and their scores, in the order of the table.
        output: folder of the page, which the addresses start from.
    """
    shown: dict[str, str] = {}  # file by caption
    for file, caption in _table(points[0][0]):
        if len(shown) < SHOWN:
            shown.setdefault(caption, file)
    return [
        CaptionSounds(
            caption,
            [
                _player(folder / file, f"{caption}, {_setting(point)}", point, output)
                for folder, point in points
                if (folder / file).is_file()
            ],
        )
        for caption, file in shown.items()
    ]


def _table(folder: Path) -> list[tuple[str, str]]:
    """(file, caption) of a folder's first set of sounds, relative to the folder."""
    table = next(path for path in (folder / CAPTIONS, *sorted(folder.glob(f"*/{CAPTIONS}"))) if path.is_file())
    with table.open(newline="", encoding="utf-8") as rows:
        return [(str((table.parent / row["file"]).relative_to(folder)), row["caption"]) for row in csv.DictReader(rows)]


def _setting(point: Scores) -> str:
    generation = point["generation"]
    steps = f"{generation['steps']} step{'s' * (generation['steps'] != 1)}"
    external = generation["external_guidance_scale"]
    return f"w {generation['guidance_scale']:g}, {steps}" + ("" if external == 1 else f", external w {external:g}")


def _player(file: Path, label: str, point: Scores, output: Path) -> Player:
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    front_end = full_band_mel(rate)
    mel = front_end(torch.from_numpy(samples).mean(1)[None])[0]
    generation = point["generation"]
    return Player(
        heading=Cell(_setting(point), f"{Path(generation['model']).name}, seed {generation['seed']}"),
        label=label,
        seconds=len(samples) / rate,
        address=quote(file.relative_to(output).as_posix()),
        picture=spectrogram_uri(mel, float(mel.max())),
        axes=mel_axes(front_end.config, len(mel)),
    )

"""What the page of a result shows of single clips: their values against each other, and the best and the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from consistency_tta.audio.resample import resample
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.evaluation.clips import GENERATED, REFERENCE, read_sound
from consistency_tta.evaluation.markdown import number
from consistency_tta.evaluation.result import EvaluationResult
from consistency_tta.reporting.axes import Axes, linear_axis
from consistency_tta.reporting.player import Player, make_player
from consistency_tta.reporting.table import Cell

#: How many of the best and of the worst clips have players.
SHOWN = 4
#: How many metrics are drawn against the first.
SCATTERS = 2


@dataclass(frozen=True)
class Point:
    """A clip in a scatter plot: its name, its position from 0 to 1, and ``best``, ``worst`` or nothing."""

    clip: str
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Scatter:
    """One metric of the clips against another; ``x`` and ``y`` are their names."""

    x: str
    y: str
    axes: Axes
    points: Sequence[Point]


@dataclass(frozen=True)
class Clip:
    """A clip's generated and reference sound, and its metric values as text."""

    id: str
    caption: str
    players: Sequence[Player]
    values: str


@dataclass(frozen=True)
class Group:
    """The best or the worst clips."""

    title: str
    colour: str
    clips: Sequence[Clip]


def best_and_worst(result: EvaluationResult) -> dict[str, list[int]]:
    """Positions of the clips that have players, from the best and from the worst on; a clip is never both."""
    ranking = result.ranking
    shown = min(SHOWN, len(ranking) // 2)
    return {"best": ranking[:shown], "worst": ranking[::-1][:shown]}


def scatters(result: EvaluationResult) -> list[Scatter]:
    """The first metric that has a value for each clip against the next ones."""
    chosen = {k: colour for colour, clips in best_and_worst(result).items() for k in clips}
    axes = {name: linear_axis(np.asarray(values)) for name, values in result.per_clip.items()}
    first, *others = axes or [""]
    drawn = []
    for other in others[:SCATTERS]:
        (x, x_ticks), (y, y_ticks) = axes[first], axes[other]
        points = [Point(pair.id, float(x[k]), float(y[k]), chosen.get(k, "")) for k, pair in enumerate(result.pairs)]
        drawn.append(Scatter(first, other, Axes(x_ticks, y_ticks), points))
    return drawn


def clip_groups(result: EvaluationResult) -> list[Group]:
    """The best and the worst clips with their sounds; empty if no metric has values of single clips."""
    chosen = best_and_worst(result)
    sounds = {k: _sounds(result, k) for clips in chosen.values() for k in clips}
    if not sounds:
        return []
    high = max(float(mel.max()) for sides in sounds.values() for _, mel in sides.values())
    ranked_by = next(iter(result.per_clip))
    return [
        Group(f"{colour.capitalize()} by {ranked_by}", colour, [_clip(result, k, sounds[k], high) for k in clips])
        for colour, clips in chosen.items()
    ]


def _sounds(result: EvaluationResult, k: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Waveform (samples,) and log-mel (frames, bins) of both sides of a clip."""
    audio, front_end = result.protocol.audio, MelSpectrogram()
    rates = audio.sample_rate, front_end.config["sample_rate"]
    waveforms = {side: read_sound(result.pairs[k].sides[side], audio)[0] for side in (GENERATED, REFERENCE)}
    with torch.no_grad():
        return {side: (sound, front_end(resample(sound[None], *rates))[0]) for side, sound in waveforms.items()}


def _clip(result: EvaluationResult, k: int, sounds: dict[str, tuple[Tensor, Tensor]], high: float) -> Clip:
    pair, sample_rate = result.pairs[k], result.protocol.audio.sample_rate
    front_end = MelSpectrogram().config
    players = [
        make_player(Cell(side), f"{pair.caption}, {side}", waveform, sample_rate, mel, front_end, high)
        for side, (waveform, mel) in sounds.items()
    ]
    values = " · ".join(f"{name} {number(values[k])}" for name, values in result.per_clip.items())
    return Clip(pair.id, pair.caption, players, values)

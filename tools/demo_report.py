"""A comparison of models as a web page of one file: a distilled student and its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.reporting.page import render_page
from consistency_tta.reporting.player import Player, make_player
from consistency_tta.reporting.spectrogram import DYNAMIC_RANGE
from consistency_tta.reporting.table import Cell, Table
from consistency_tta.runtime.errors import MissingExtraError
from tools.loss_curve import loss_curve
from tools.model_comparison import ModelSounds, Scores

TEMPLATE = Path(__file__).with_name("demo_report.html")
#: Classes of page.css, which give the models their colours.
COLOURS = ("a", "b", "c", "d")
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Prompt:
    """A caption and each model's sound for it."""

    caption: str
    players: Sequence[Player]


@dataclass
class Report:
    """What the page shows.

    Attributes:
        captions: B texts.
        results: sounds and scores of each model; the first is the teacher, to which the others are compared.
        headline: which of them the tiles at the top are about.
        real: what the Fréchet distances were measured to.
        steps, losses: of the run that made the student.
        teacher_steps: of the teacher's solver.
        facts: how the page was made: settings, versions, machine.
        commands: that make it again.
    """

    captions: Sequence[str]
    results: Sequence[tuple[ModelSounds, Scores]]
    headline: int
    real: ReferenceStatistics
    steps: Sequence[float]
    losses: Sequence[float]
    teacher_steps: int
    facts: dict[str, str]
    commands: Sequence[str]

    def write(self, file: Path) -> Path:
        """Write the page."""
        teacher, student = self.results[0][0], self.results[self.headline][0]
        curve, missing = self._curve()
        html = render_page(
            TEMPLATE,
            title=f"One query instead of {teacher.queries}",
            teacher_queries=teacher.queries,
            teacher_steps=self.teacher_steps,
            student=student.model.name,
            tiles=self._tiles(),
            models=self._models(),
            real_clips=self.real.count,
            dimensions=len(self.real.mean),
            dynamic_range=DYNAMIC_RANGE,
            prompts=self._prompts(),
            curve=curve,
            missing=missing,
            bars=self._bars(),
            commands="\n".join(self.commands),
            facts=self.facts,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html, encoding="utf-8")
        return file

    def _tiles(self) -> list[tuple[str, str]]:
        (teacher, reference), (student, scores) = self.results[0], self.results[self.headline]
        clips = len(self.captions)
        return [
            (f"{teacher.queries} → {student.queries}", "network queries per clip"),
            (times(teacher.seconds["latents"] / student.seconds["latents"]), "faster from caption to latent"),
            (times(total(teacher) / total(student)), "faster from caption to sound, decoders included"),
            (
                f"{scores.recognised} of {clips}",
                f"sounds recognised; the teacher's: {reference.recognised} of {clips}",
            ),
        ]

    def _models(self) -> Table:
        heads: list[str | Cell] = [
            "Model",
            "Queries",
            Cell("Text, U-Net", "s per clip"),
            Cell("Decoders", "s per clip"),
            Cell("In all", "s per clip"),
            "Speed-up",
            Cell("CLAP score", "higher is better"),
            "Recognised",
            Cell("Fréchet", "lower is better"),
        ]
        teacher = self.results[0][0]
        rows: list[list[str | Cell]] = [
            [
                Cell(sounds.model.name, sounds.model.note, colour),
                str(sounds.queries),
                clock(sounds.seconds["latents"]),
                clock(sounds.seconds["decoders"]),
                clock(total(sounds)),
                f"1 {TIMES}" if sounds is teacher else times(total(teacher) / total(sounds)),
                Cell(f"{float(scores.clap.mean()):.3f}", f"others {scores.others:.3f}"),
                f"{scores.recognised} of {len(self.captions)}",
                f"{scores.frechet:.3f}",
            ]
            for colour, (sounds, scores) in zip(COLOURS, self.results, strict=False)
        ]
        return Table(heads, rows)

    def _prompts(self) -> list[Prompt]:
        high = max(float(sounds.mel.max()) for sounds, _ in self.results)
        return [Prompt(caption, self._players(row, high)) for row, caption in enumerate(self.captions)]

    def _players(self, row: int, high: float) -> list[Player]:
        players = []
        for colour, (sounds, scores) in zip(COLOURS, self.results, strict=False):
            name, queries = sounds.model.name, "query" if sounds.queries == 1 else "queries"
            heading = Cell(name, f"{sounds.queries} {queries} · CLAP {float(scores.clap[row]):.2f}", colour)
            label = f"{self.captions[row]}, {name}"
            waveform, mel, front_end = sounds.waveform[row], sounds.mel[row], sounds.front_end.config
            players.append(make_player(heading, label, waveform, sounds.sample_rate, mel, front_end, high))
        return players

    def _curve(self) -> tuple[Markup | None, str]:
        """The loss curve, or none and the reason."""
        if not self.steps:
            return None, "The training was shorter than the interval at which losses are logged."
        try:
            return loss_curve(self.steps, self.losses), ""
        except MissingExtraError as error:
            return None, str(error)

    def _bars(self) -> list[dict[str, Any]]:
        """Seconds of each model, and the percentages of the longest time that its two parts take."""
        longest = max(total(sounds) for sounds, _ in self.results)
        return [
            {
                "name": sounds.model.name,
                "colour": colour,
                "seconds": clock(total(sounds)),
                **{part: 100 * sounds.seconds[part] / longest for part in ("latents", "decoders")},
            }
            for colour, (sounds, _) in zip(COLOURS, self.results, strict=False)
        ]


def total(sounds: ModelSounds) -> float:
    """Seconds per clip."""
    return sum(sounds.seconds.values())


def clock(seconds: float) -> str:
    """Seconds, with as many digits as mean something."""
    return f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}"


def times(factor: float) -> str:
    """A speed-up, with as many digits as mean something."""
    return f"{factor:.0f} {TIMES}" if factor >= 10 else f"{factor:.1f} {TIMES}"

"""A result as a web page of one file: figures, how clips spread, and the best and worst of them to listen to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from consistency_tta.audio.resample import Resample
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding, read_sound
from consistency_tta.evaluation.markdown import LISTED, better, interval, number, sections, settings, used
from consistency_tta.evaluation.result import MetricValue, Result
from consistency_tta.reporting.page import DECIBEL, Axes, mel_axes, nice, page, player, plot, spectrogram_uri

#: How many of the best and of the worst clips can be heard.
HEARD = 4
#: Decibels from the lightest to the darkest colour of all spectrograms.
RANGE = 80
#: Tiles with figures at the top.
TILES = 3


def write_report(result: Result, file: Path) -> Path:
    """Write the page."""
    file.write_text(Report(result).html(), encoding="utf-8")
    return file


class Report:
    """The page of a result.

    Args:
        result: whose files are still there.
    """

    def __init__(self, result: Result) -> None:
        self.result = result
        ranking = result.ranking
        shown = min(HEARD, len(ranking) // 2)
        self.best, self.worst = ranking[:shown], ranking[::-1][:shown]

    def html(self) -> str:
        """The whole file."""
        protocol = self.result.protocol
        title = f"{self.result.generated.resolve().name} by {protocol.name}"
        parts = [
            f'<header><p class="eyebrow">ConsistencyTTA · evaluation</p><h1>{escape(title)}</h1>'
            f'<p class="lead">{escape(used(self.result))}</p>{self._warnings()}{self._tiles()}</header>',
            f"<section><h2>Figures</h2>{self._figures()}{self._notes()}</section>",
            self._scatters(),
            self._listen(),
            *(f"<section><h2>{escape(name)}</h2>{_findings(found)}</section>" for name, found in sections(self.result)),
            f"<section><h2>How this was found</h2>{self._networks()}{self._facts()}</section>",
        ]
        return page(f"{title} · ConsistencyTTA", f"<main>{''.join(parts)}</main>")

    def _warnings(self) -> str:
        items = "".join(f"<li>{escape(warning)}.</li>" for warning in self.result.warnings)
        return f'<ul class="card warnings">{items}</ul>' if items else ""

    def _tiles(self) -> str:
        tiles = [(str(len(self.result.pairs)), f"clips of {self.result.protocol.clips.number} in the protocol")]
        for figure in self.result.figures[:TILES]:
            spread = "" if figure.interval is None else f", {interval(figure)}"
            judge = f" ({_network(figure)})" if _network(figure) else ""
            tiles.append((number(figure.value), f"{figure.title}{judge}{spread}"))
        items = "".join(f"<li><strong>{value}</strong><span>{escape(label)}</span></li>" for value, label in tiles)
        return f'<ul class="tiles">{items}</ul>'

    def _figures(self) -> str:
        rows = []
        for figure in self.result.figures:
            heard = f"heard by {_network(figure)}" if _network(figure) else "of the sounds themselves"
            bias = "\N{EN DASH}" if figure.interval is None else number(figure.interval.bias)
            head = f"{escape(figure.title)}<small>{escape(heard)}</small>"
            rows.append((head, [better(figure), number(figure.value), interval(figure), bias]))
        confidence = f"{100 * self.result.protocol.bootstrap.confidence:g} % interval"
        return html_table(["Metric", "Better", "Value", confidence, "Bias of the draws"], rows, "figures")

    def _notes(self) -> str:
        notes = [
            "<b>Interval</b>: for what so many clips give on average. Percentiles of draws of the clips, less their "
            "bias; of a mean with replacement, of whole sets by halves. It knows nothing of other seeds and judges.",
            "<b>Bias of the draws</b>: their mean minus the figure. Half of the clips give larger distances of sets.",
            "Compare only figures of the same protocol (SHA-256), the same clips and the same networks.",
        ]
        return f'<ul class="notes">{"".join(f"<li>{note}</li>" for note in notes)}</ul>'

    def _scatters(self) -> str:
        first, *others = self.result.per_clip or [""]
        drawn = "".join(self._scatter(first, other) for other in islice(others, 2))
        return f'<section><h2>Clip by clip</h2><div class="two">{drawn}</div></section>' if drawn else ""

    def _scatter(self, x: str, y: str) -> str:
        (left, x_ticks), (bottom, y_ticks) = (_axis(np.asarray(self.result.per_clip[name])) for name in (x, y))
        marks = ["best" if k in self.best else "worst" if k in self.worst else "" for k in range(len(left))]
        points = "".join(
            f'<i class="{marks[k]}" title="{escape(pair.id, quote=True)}" '
            f'style="left:{100 * left[k]:.2f}%;bottom:{100 * bottom[k]:.2f}%"></i>'
            for k, pair in enumerate(self.result.pairs)
        )
        picture = f'<div class="scatter" role="img" aria-label="{escape(y)} over {escape(x)}">{points}</div>'
        legend = f"{escape(y)} (upwards) over {escape(x)} (to the right); the clips below in colour."
        return (
            f'<figure class="card">{plot(picture, Axes(x_ticks, y_ticks))}'
            f'<figcaption class="muted">{legend}</figcaption></figure>'
        )

    def _listen(self) -> str:
        if not self.best:
            return ""
        ranked = next(name for name in self.result.per_clip)
        sounds = {k: self._sounds(k) for k in [*self.best, *self.worst]}
        high = max(float(mel.max()) for sides in sounds.values() for _, mel in sides.values())
        parts = []
        for title, chosen, mark in (("Best", self.best, "best"), ("Worst", self.worst, "worst")):
            articles = "".join(self._article(k, sounds[k], high, mark) for k in chosen)
            parts.append(f'<h3 class="group">{title} by {escape(ranked)}</h3><div class="two clips">{articles}</div>')
        note = "As they were judged. Click a spectrogram to play from there; all share one colour scale."
        return f'<section><h2>Listen</h2><p class="muted">{note}</p>{"".join(parts)}</section>'

    def _sounds(self, k: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Waveform (samples,) and mel (frames, bins) of both sides."""
        audio, front_end = self.result.protocol.audio, MelSpectrogram()
        resample = Resample(audio.sample_rate, front_end.config["sample_rate"])
        waveforms = {side: read_sound(self.result.pairs[k].sides[side], audio)[0] for side in (GENERATED, REFERENCE)}
        with torch.no_grad():
            return {side: (sound, front_end(resample(sound[None]))[0]) for side, sound in waveforms.items()}

    def _article(self, k: int, sounds: dict[str, tuple[Tensor, Tensor]], high: float, mark: str) -> str:
        pair, low = self.result.pairs[k], high - RANGE * float(DECIBEL)
        values = " · ".join(f"{name} {number(values[k])}" for name, values in self.result.per_clip.items())
        figures = "".join(
            player(
                side,
                f"{pair.caption}, {side}",
                waveform,
                self.result.protocol.audio.sample_rate,
                spectrogram_uri(mel, low, high),
                mel_axes(MelSpectrogram(), len(mel)),
            )
            for side, (waveform, mel) in sounds.items()
        )
        heading = f'<span><i class="dot {mark}"></i>“{escape(pair.caption)}”<small>{escape(pair.id)}</small></span>'
        return (
            f'<article class="prompt"><h3>{heading}<button type="button" class="all">play both</button></h3>'
            f'<div class="sounds">{figures}</div><p class="muted values">{escape(values)}</p></article>'
        )

    def _networks(self) -> str:
        reward = {True: "yes", False: "no", None: "not known"}
        rows = [
            (
                escape(judge.name),
                [f"<code>{judge.sha256}</code>", "yes" if judge.pinned else "no", reward[judge.is_reward]],
            )
            for judge in self.result.judges
        ]
        return html_table(["Network", "SHA-256 of its weights", "Pinned", "Is the reward"], rows)

    def _facts(self) -> str:
        about = escape(self.result.protocol.description.strip())
        return f'{fact_list(settings(self.result))}<p class="muted">{about}</p>'


def fact_list(facts: Mapping[str, str]) -> str:
    """Settings and their values, plain text, as HTML."""
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def html_table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], kind: str = "") -> str:
    """A table as HTML.

    Args:
        heads: plain text.
        rows: (head, cells), all HTML.
        kind: its class in ``page.css``; ``plain`` for text.
    """
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = []
    for head, cells in rows:
        drawn = "".join(
            f'<td data-label="{escape(label)}"><span>{cell}</span></td>'
            for label, cell in zip(heads[1:], cells, strict=True)
        )
        lines.append(f'<tr><th scope="row">{head}</th>{drawn}</tr>')
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _network(figure: MetricValue) -> str:
    return next(iter(figure.name.split("/")[1:2]), "")


def _axis(values: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Places of values (N,) on an axis, from 0 to 1, and ticks at round numbers."""
    low, high = float(values.min()), float(values.max())
    step = nice((high - low) / 4) if high > low else 1.0
    low, high = step * np.floor(low / step), step * np.ceil(high / step + 1e-9)
    high = high if high > low else low + step
    ticks = np.arange(low, high + step / 2, step)
    return (values - low) / (high - low), [((tick - low) / (high - low), f"{tick:.3g}") for tick in ticks.tolist()]


def _findings(findings: Sequence[Finding]) -> str:
    rows = [(escape(f.id), [escape(f.side), escape(f.reason), escape(f.detail)]) for f in findings[:LISTED]]
    more = len(findings) - LISTED
    rest = f'<p class="muted">and {more} more in result.json</p>' if more > 0 else ""
    return html_table(["Clip or file", "Side", "Reason", "Found"], rows, "plain") + rest

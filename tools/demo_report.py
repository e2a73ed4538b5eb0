"""A comparison of models as a web page of one file: a distilled student beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from consistency_tta.evaluation.comparison import RealClips, Scores, Sounds
from consistency_tta.reporting.page import DECIBEL, curve, mel_axes, page, player, spectrogram_uri

#: Decibels from the lightest to the darkest colour of all spectrograms.
RANGE = 80
#: Classes of page.css, which give the models their colours.
COLOURS = ("a", "b", "c", "d")
TIMES = "\N{MULTIPLICATION SIGN}"
SCORES = (
    "<b>CLAP score</b>: cosine of sound and caption in the space of the CLAP named below (the bundled one knows ten "
    "kinds of sound); beneath it, the mean with the other captions. <b>Recognised</b>: sounds "
    "that are nearer to their own caption than to any other on this page. Compare these figures with each "
    "other, not with those of papers, which use other CLAPs."
)


@dataclass
class Report:
    """What a page says.

    Attributes:
        captions: B texts.
        results: sounds and scores of each model; the first is the teacher, to which the others are compared.
        headline: which of them the tiles at the top are about.
        real: what the Fréchet distances were measured to.
        steps, losses: of the run that made the student.
        lead: a paragraph of HTML for someone who has never heard of all this.
        facts: how the page was made: settings, versions, machine.
        commands: that make it again.
    """

    captions: Sequence[str]
    results: Sequence[tuple[Sounds, Scores]]
    headline: int
    real: RealClips
    steps: Sequence[float]
    losses: Sequence[float]
    lead: str
    facts: dict[str, str]
    commands: Sequence[str]

    def write(self, file: Path) -> Path:
        """Write the page."""
        queries = self.results[0][0].queries
        title = f"One query instead of {queries}"
        prompts = "".join(map(self._prompt, range(len(self.captions))))
        sections = [
            f'<header><p class="eyebrow">ConsistencyTTA · demo report</p><h1>{title}</h1>'
            f'<p class="lead">{self.lead}</p>{self._tiles()}</header>',
            f"<section><h2>What it costs, what it is worth</h2>{self._table()}{self._notes()}</section>",
            f"<section><h2>Listen</h2>{self._legend()}{prompts}</section>",
            f'<section class="two">{self._loss()}{self._times()}</section>',
            f"<section><h2>How this was made</h2>{self._making()}</section>",
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page(f"{title} · ConsistencyTTA", f"<main>{''.join(sections)}</main>"), encoding="utf-8")
        return file

    def _tiles(self) -> str:
        (teacher, judged), (student, scores) = self.results[0], self.results[self.headline]
        best = len(self.captions)
        tiles = [
            (f"{teacher.queries} → {student.queries}", "network queries per clip"),
            (f"{times(teacher.seconds['latents'] / student.seconds['latents'])}", "faster from caption to latent"),
            (f"{times(total(teacher) / total(student))}", "faster from caption to sound, decoders included"),
            (f"{scores.recognised} of {best}", f"sounds recognised; the teacher's: {judged.recognised} of {best}"),
        ]
        name = escape(student.contestant.name)
        items = "".join(f"<li><strong>{value}</strong><span>{label}</span></li>" for value, label in tiles)
        return f'<ul class="tiles" aria-label="{name} against its teacher">{items}</ul>'

    def _table(self) -> str:
        columns = ("Queries", "Text, U-Net", "Decoders", "In all", "Speed-up", "CLAP score", "Recognised", "Fréchet")
        hints = ("", "s per clip", "s per clip", "s per clip", "", "higher is better", "", "lower is better")
        heads = "".join(
            f'<th scope="col">{column}<small>{hint}</small></th>' for column, hint in zip(columns, hints, strict=True)
        )
        rows = []
        for colour, (sounds, scores) in zip(COLOURS, self.results, strict=False):
            speed = total(self.results[0][0]) / total(sounds)
            values = [
                str(sounds.queries),
                clock(sounds.seconds["latents"]),
                clock(sounds.seconds["decoders"]),
                clock(total(sounds)),
                times(speed) if sounds is not self.results[0][0] else f"1 {TIMES}",
                f"{float(scores.clap.mean()):.3f}<small>others {scores.others:.3f}</small>",
                f"{scores.recognised} of {len(self.captions)}",
                f"{scores.frechet:.3f}",
            ]
            cells = "".join(
                f'<td data-label="{column}"><span>{value}</span></td>'
                for column, value in zip(columns, values, strict=True)
            )
            one = sounds.contestant
            name = f"{dot(colour)}{escape(one.name)}<small>{escape(one.note)}</small>"
            rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
        return f'<table><thead><tr><th scope="col">Model</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'

    def _notes(self) -> str:
        clips, width = len(self.captions), len(self.real.mean)
        bias = (
            f"<b>Fréchet</b>: distance of the embeddings' distribution to that of {self.real.count} real training "
            f"clips. It is estimated here from {clips} sounds in {width} dimensions and so <em>biased upwards</em> "
            "in every row: read at most the order, not the value."
        )
        seconds = "<b>Seconds</b>: the median over the captions, each made alone, on the machine described below."
        return f'<ul class="notes"><li>{seconds}</li><li>{SCORES}</li><li>{bias}</li></ul>'

    def _legend(self) -> str:
        low, high = self._scale()
        return (
            f'<p class="muted">In each row all sounds start from the same noise. Click a spectrogram to play from '
            f"there. All spectrograms share one colour scale.</p>"
            f'<div class="scale" aria-hidden="true"><span>{(low - high) / DECIBEL:.0f} dB</span><i></i>'
            f"<span>loudest on this page</span></div>"
        )

    def _scale(self) -> tuple[float, float]:
        """Darkest and lightest log-mel."""
        high = max(float(sounds.mel.max()) for sounds, _ in self.results)
        return high - RANGE * float(DECIBEL), high

    def _prompt(self, row: int) -> str:
        low, high = self._scale()
        caption, figures = self.captions[row], []
        for colour, (sounds, scores) in zip(COLOURS, self.results, strict=False):
            name, asked = sounds.contestant.name, "query" if sounds.queries == 1 else "queries"
            mel = sounds.mel[row]
            detail = f"{sounds.queries} {asked} · CLAP {float(scores.clap[row]):.2f}"
            sound = player(
                f"{dot(colour)}{escape(name)}<small>{detail}</small>",
                f"{caption}, {name}",
                sounds.waveform[row],
                sounds.sample_rate,
                spectrogram_uri(mel, low, high),
                mel_axes(sounds.front_end, len(mel)),
            )
            figures.append(sound)
        play = '<button type="button" class="all">play all in turn</button>'
        return (
            f'<article class="prompt"><h3>“{escape(caption)}”{play}</h3>'
            f'<div class="sounds">{"".join(figures)}</div></article>'
        )

    def _loss(self) -> str:
        drawn = curve(self.steps, self.losses, "steps")
        text = "Distillation loss: each value, and its moving average. It compares the student with its own average."
        return f'<figure class="card"><h3>The run</h3>{drawn}<figcaption class="muted">{text}</figcaption></figure>'

    def _times(self) -> str:
        longest = max(total(sounds) for sounds, _ in self.results)
        bars = []
        for colour, (sounds, _) in zip(COLOURS, self.results, strict=False):
            latents, decoders = (100 * sounds.seconds[part] / longest for part in ("latents", "decoders"))
            name = f"<span>{escape(sounds.contestant.name)}<em>{clock(total(sounds))} s</em></span>"
            parts = f'<i style="width:{latents:.2f}%"></i><i class="light" style="width:{decoders:.2f}%"></i>'
            bars.append(f'<li>{name}<div class="bar {colour}">{parts}</div></li>')
        text = "Text encoder and U-Net in full colour, decoders (autoencoder and vocoder) lighter."
        return (
            f'<figure class="card"><h3>Seconds per clip</h3><ul class="bars">{"".join(bars)}</ul>'
            f'<figcaption class="muted">{text}</figcaption></figure>'
        )

    def _making(self) -> str:
        facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in self.facts.items())
        commands = escape("\n".join(self.commands))
        return f'<pre class="card"><code>{commands}</code></pre><dl class="facts">{facts}</dl>'


def total(sounds: Sounds) -> float:
    """Seconds per clip."""
    return sum(sounds.seconds.values())


def clock(seconds: float) -> str:
    """Seconds, with as many digits as mean something."""
    return f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}"


def times(factor: float) -> str:
    """A speed-up, with as many digits as mean something."""
    return f"{factor:.0f} {TIMES}" if factor >= 10 else f"{factor:.1f} {TIMES}"


def dot(colour: str) -> str:
    """A model's mark."""
    return f'<i class="dot {colour}"></i>'

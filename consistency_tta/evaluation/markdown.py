"""A result as Markdown, for pull requests and drafts, and the texts that it shares with the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding
from consistency_tta.evaluation.protocol import MetricSettings, Protocol
from consistency_tta.evaluation.result import EmbeddingNetwork, EvaluationResult, MetricValue

#: Findings of one kind that are listed; ``result.json`` has all.
LISTED = 30


def markdown(result: EvaluationResult) -> str:
    """The whole report as Markdown."""
    protocol = result.protocol
    confidence = f"{100 * protocol.bootstrap.confidence:g} % interval"
    parts = [
        f"# Evaluation by {protocol.name}, version {protocol.version}",
        f"{used(result)} Protocol SHA-256 `{protocol.sha256}`.",
        "\n".join(f"- **{warning}**" for warning in result.warnings),
        table(["metric", "better", "value", confidence, "bias of the draws"], map(_row, result.metric_values)),
        table(["network", "SHA-256 of its weights", "pinned", "is the reward"], map(_network, result.networks)),
    ]
    for title, findings in sections(result):
        parts.append(f"## {title}\n\n" + listing(findings))
    facts = table(["setting", "value"], ([key, value] for key, value in settings(result).items()))
    parts.append(f"## Settings\n\n{facts}\n\n{protocol.description.strip()}")
    return "\n\n".join(part for part in parts if part) + "\n"


def used(result: EvaluationResult) -> str:
    """A sentence with the number of clips that were evaluated."""
    used, requested, whole = len(result.pairs), result.requested, result.protocol.clips.number
    part = "" if requested == whole else f", out of {whole} in the protocol"
    return f"{used} of {requested} clips used{part}."


def sections(result: EvaluationResult) -> list[tuple[str, list[Finding]]]:
    """Lists of findings with their titles, without the empty ones."""
    lists = [
        (f"Left out ({len({finding.id for finding in result.left_out})} clips)", result.left_out),
        ("Silent or short, and used as they are", result.silent_or_short),
        # A folder of recordings often has those of other clips, too; :func:`settings` counts them.
        ("Files that belong to no clip", [finding for finding in result.unused if finding.side != REFERENCE]),
    ]
    return [(title, findings) for title, findings in lists if findings]


def listing(findings: Sequence[Finding]) -> str:
    """A table of findings, the first :data:`LISTED`."""
    rows = ([f"`{f.id}`", f.side, f.reason, f.detail] for f in findings[:LISTED])
    more = len(findings) - LISTED
    return table(["clip or file", "side", "reason", "found"], rows) + (f"\n\nand {more} more" if more > 0 else "")


def settings(result: EvaluationResult) -> dict[str, str]:
    """How the values were computed, as text by title."""
    unused = sum(finding.side == REFERENCE for finding in result.unused)
    others = f"; and {unused} files that belong to no clip" if unused else ""
    facts = protocol_settings(result.protocol) | {
        "Captions": f"{result.captions.name}, SHA-256 {result.captions_sha256}",
        "Generated": f"{result.generated} ({counts(result.formats[GENERATED])})",
        "Reference": f"{result.reference} ({counts(result.formats[REFERENCE])}{others})",
        "consistency_tta": result.version,
    }
    if result.more:
        facts["More sounds of each clip"] = f"{', '.join(map(str, result.more))}: for diversity alone"
    origin = result.provenance
    known = {
        "Model": origin.model,
        "Sampled with": origin.settings,
        "SHA-256 of the reward networks": str(origin.rewards),
    }
    return facts | {key: value for key, value in known.items() if value is not None}


def protocol_settings(protocol: Protocol) -> dict[str, str]:
    """The settings of a protocol, as text by title."""
    audio, listed, draws = protocol.audio, protocol.clip_list, protocol.bootstrap
    level = "as loud as they are" if audio.peak is None else f"scaled to a peak of {audio.peak:g}"
    mean = "mean removed, " if audio.mean_removed else ""
    return {
        "Protocol": f"{protocol.name}, version {protocol.version}",
        "SHA-256 of the protocol": protocol.sha256,
        "Clip list": "the caption file" if listed is None else f"{listed.name}, SHA-256 {protocol.clips.sha256}",
        "Sounds": f"mono, {audio.sample_rate} Hz ({audio.resampler}), {audio.seconds:g} s, {mean}{level}",
        "Metrics": "; ".join(map(_metric, protocol.metrics)),
        "Bootstrap draws": f"{draws.resamples}, of set metrics {draws.set_resamples}; seed {protocol.seed}",
        "Seed to generate with": str(protocol.generation_seed),
    }


def counts(formats: dict[str, int]) -> str:
    """``80 of 16000 Hz, 1 channel``."""
    return "; ".join(f"{number} of {kind}" for kind, number in formats.items()) or "none"


def number(value: float) -> str:
    """A value with four significant digits."""
    return f"{value:.4g}"


def interval(value: MetricValue) -> str:
    """``0.1 to 0.2``, or a dash."""
    found = value.interval
    return "\N{EN DASH}" if found is None else f"{number(found.low)} to {number(found.high)}"


def better(value: MetricValue) -> str:
    """``higher``, ``lower``, or a dash."""
    return {True: "higher", False: "lower", None: "\N{EN DASH}"}[value.higher_is_better]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _row(value: MetricValue) -> list[str]:
    bias = "\N{EN DASH}" if value.interval is None else number(value.interval.bias)
    return [value.name, better(value), number(value.value), interval(value), bias]


def _metric(metric: MetricSettings) -> str:
    """``inception/panns (splits 10, seed 2020)``."""
    options = ", ".join(f"{key} {value}" for key, value in metric.options.items())
    return metric.name + (f" ({options})" if options else "")


def _network(network: EmbeddingNetwork) -> list[str]:
    reward = {True: "**yes**", False: "no", None: "not known"}[network.is_reward]
    return [network.name, f"`{network.sha256}`", "yes" if network.pinned else "no", reward]

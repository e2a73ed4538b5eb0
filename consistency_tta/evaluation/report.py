"""The page of a result: metric values, how the clips spread, and the best and the worst of them to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consistency_tta.evaluation.clip_section import clip_groups, scatters
from consistency_tta.evaluation.clips import Finding
from consistency_tta.evaluation.markdown import LISTED, better, interval, number, sections, settings, used
from consistency_tta.evaluation.result import EvaluationResult, MetricValue
from consistency_tta.reporting.page import render_page
from consistency_tta.reporting.table import Cell, Table

TEMPLATE = Path(__file__).with_name("report.html")
#: Metric values in the tiles at the top.
TILES = 3
DASH = "\N{EN DASH}"


def write_report(result: EvaluationResult, file: Path) -> Path:
    """Write the page of a result, whose sound files are still there."""
    title = f"{result.generated.resolve().name} by {result.protocol.name}"
    html = render_page(
        TEMPLATE,
        title=title,
        lead=used(result),
        warnings=result.warnings,
        tiles=_tiles(result),
        metrics=_metrics(result),
        scatters=scatters(result),
        groups=clip_groups(result),
        findings=[(heading, _findings(found), len(found) - LISTED) for heading, found in sections(result)],
        networks=_networks(result),
        facts=settings(result),
        description=result.protocol.description.strip(),
    )
    file.write_text(html, encoding="utf-8", errors="backslashreplace")
    return file


def _tiles(result: EvaluationResult) -> list[tuple[str, str]]:
    """(value, label) of each."""
    tiles = [(str(len(result.pairs)), f"clips of {result.protocol.clips.number} in the protocol")]
    for value in result.metric_values[:TILES]:
        network = f" ({_network(value)})" if _network(value) else ""
        spread = "" if value.interval is None else f", {interval(value)}"
        tiles.append((number(value.value), f"{value.title}{network}{spread}"))
    return tiles


def _metrics(result: EvaluationResult) -> Table:
    rows: list[list[str | Cell]] = []
    for value in result.metric_values:
        source = f"embedded by {_network(value)}" if _network(value) else "of the sounds themselves"
        bias = DASH if value.interval is None else number(value.interval.bias)
        rows.append([Cell(value.title, source), better(value), number(value.value), interval(value), bias])
    confidence = f"{100 * result.protocol.bootstrap.confidence:g} % interval"
    return Table(["Metric", "Better", "Value", confidence, "Bias of the draws"], rows, "metrics")


def _networks(result: EvaluationResult) -> Table:
    reward = {True: "yes", False: "no", None: "not known"}
    rows: list[list[str | Cell]] = [
        [network.name, Cell(network.sha256, code=True), "yes" if network.pinned else "no", reward[network.is_reward]]
        for network in result.networks
    ]
    return Table(["Network", "SHA-256 of its weights", "Pinned", "Is the reward"], rows)


def _findings(findings: Sequence[Finding]) -> Table:
    rows = [[finding.id, finding.side, finding.reason, finding.detail] for finding in findings[:LISTED]]
    return Table(["Clip or file", "Side", "Reason", "Found"], rows, "plain")


def _network(value: MetricValue) -> str:
    """The network that a metric's value is of, or nothing."""
    return next(iter(value.name.split("/")[1:2]), "")

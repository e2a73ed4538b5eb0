"""A plan as text."""

from __future__ import annotations

from collections.abc import Sequence

from consistency_tta.planning.memory import CARDS, GIB, Counted
from consistency_tta.planning.parts import Part


def parts_table(parts: dict[str, Part]) -> str:
    """Parameters by part, with what training keeps for each."""
    rows = []
    for name, part in parts.items():
        trained = name.startswith("trained")
        more = [gib(part.size), gib(2 * part.size)] if trained else ["", ""]
        rows.append([name, f"{part.number / 1e6:.1f}", gib(part.size), *more])
    return table(["GiB, one process", "million", "values", "gradients", "AdamW's moments"], rows)


def peaks_table(variants: dict[tuple[str, bool], Counted]) -> str:
    """What a step keeps besides, and the peak of each phase, on one device."""
    rows = []
    for (precision, checkpointing), counted in variants.items():
        peaks = counted.peaks
        rows.append(
            [
                precision,
                "on" if checkpointing else "as in recipe",
                gib(peaks.peak - peaks.persistent),
                gib(counted.per_example[1]),
                *map(gib, (peaks.forward, peaks.backward, peaks.optimizer)),
            ]
        )
    heads = ["precision", "checkpointing", "beyond state", "each example", "forward", "backward", "optimizer"]
    return table(heads, rows)


def cards_table(variants: dict[tuple[str, bool], Counted], processes: int) -> str:
    """The peak of each strategy, and the largest batch of each process for cards of each size."""
    rows = []
    for (precision, checkpointing), counted in variants.items():
        for strategy, number in counted.strategies(processes):
            batches = [counted.largest_batch(card, strategy, number) for card in CARDS]
            rows.append(
                [
                    f"{strategy} x {number}" if number > 1 else "one",
                    precision,
                    "on" if checkpointing else "as in recipe",
                    gib(counted.peak(counted.batch, strategy, number)),
                    *(str(batch) if batch else "no" for batch in batches),
                ]
            )
    return table(["processes", "precision", "checkpointing", "peak", *(f"{card} GB" for card in CARDS)], rows)


def gib(size: float) -> str:
    """Bytes in GiB."""
    return f"{size / GIB:.2f}" if size >= 0.1 * GIB else f"{size / GIB:.4f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text; the first is aligned to the left."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for cells in (heads, *rows):
        first, *others = (
            cell.ljust(width) if not n else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)

"""The table that ``benchmark`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def report(result: dict[str, Any]) -> str:
    """A short table of what :func:`~consistency_tta.benchmark.command.benchmark` measured."""
    dtypes = result["dtypes"]
    first = next(iter(dtypes.values()))
    names = [*first["operations"], "sound", "batch"]
    rows = [["seconds", *dtypes, *(f"{dtype} ratio" for dtype in list(dtypes)[1:]), *(f"{d} peak" for d in dtypes)]]
    for name in names:
        row = [name if name != "batch" else f"batch of {result['batch_size']}"]
        row += [f"{numbers['seconds'][name]:.4g}" for numbers in dtypes.values()]
        row += [f"{first['seconds'][name] / n['seconds'][name]:.2f}" for n in list(dtypes.values())[1:]]
        row += [f"{n['share_of_peak'][name]:.0%}" if name in n["share_of_peak"] else "" for n in dtypes.values()]
        rows.append(row)
    lines = [
        f"{result['model']} on {result['device']}, {result['threads']} threads, torch {result['torch']}: "
        f"medians of {result['rounds']} rounds, a sound of {first['sound_seconds']:.2f} s",
        *_aligned(rows),
    ]
    for dtype, numbers in dtypes.items():
        peak, many = numbers["peak_operations_per_second"], numbers["many_queries"]
        memory = numbers["activation_bytes"]
        lines.append(
            f"{dtype}: {numbers['sounds_per_second']:.3g} sounds/s in batches; {result['queries']} queries take "
            f"{many['denoise']:.0f} times as long as one, the whole sound {many['sound']:.1f} times; weights "
            f"{numbers['weight_bytes'] / 2**20:.0f} MiB, activations "
            f"{'unknown' if memory is None else f'{memory / 2**20:.0f} MiB'}; machine: "
            f"{peak['matrix product'] / 1e9:.0f} GFLOP/s in matrix products, "
            f"{peak['convolution'] / 1e9:.0f} in convolutions"
        )
    return "\n".join(lines + training_report(result.get("training", {}), result["batch_size"]))


def training_report(formats: dict[str, dict[str, Any]], batch_size: int) -> list[str]:
    """Lines on a training step by part; none without."""
    if not formats:
        return []
    first, *others = formats
    rows = [["seconds of a training step", *formats, *(f"{dtype} ratio" for dtype in others)]]
    for name in formats[first]["seconds"]:
        seconds = [numbers["seconds"][name] for numbers in formats.values()]
        ratios = [f"{seconds[0] / value:.2f}" if value else "" for value in seconds[1:]]
        rows.append([name, *(f"{value:.4g}" for value in seconds), *ratios])
    lines = ["", f"stage 2, {batch_size} clips a step:", *_aligned(rows)]
    for dtype, numbers in formats.items():
        memory, headroom = numbers["step_bytes"], numbers["data_headroom"]
        lines.append(
            f"{dtype}: {numbers['clips_per_second']:.3g} clips/s; data {'' if headroom is None else f'{headroom:.0f} '}"
            f"times faster than the step; memory beyond the networks "
            f"{'unknown' if memory is None else f'{memory / 2**20:.0f} MiB'}"
        )
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]

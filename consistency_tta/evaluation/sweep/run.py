"""A folder for each combination of settings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consistency_tta.evaluation.sweep.drawing import draw
from consistency_tta.evaluation.sweep.judge import Judge
from consistency_tta.evaluation.sweep.scores import judge_all
from consistency_tta.generation.fill import fill
from consistency_tta.generation.folder import Folder
from consistency_tta.generation.sampling_config import NUMBERS, SamplingConfig, Sound


def parse_sweep(settings: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each setting in ``["guidance_scale=1,2,3", "steps=1,2"]``.

    Raises:
        ValueError: for an unknown setting or one given twice, and values that are none or given twice.
    """
    kinds = {field.name: int if "int" in str(field.type) else float for field in NUMBERS}
    grid: dict[str, list[Any]] = {}
    for setting in settings:
        name, separator, listed = setting.partition("=")
        if not separator or name not in kinds:
            raise ValueError(f"expected a sweep such as guidance_scale=1,2,3, over {', '.join(kinds)}, got {setting!r}")
        try:
            values = [kinds[name](value) for value in listed.split(",")]
        except ValueError:
            raise ValueError(f"expected {kinds[name].__name__} values with commas between, got {setting!r}") from None
        if len(set(values)) < len(values) or name in grid:
            raise ValueError(f"expected each setting and each of its values once, got {setting!r}")
        grid[name] = values
    return grid


def run_sweep(
    sounds: Sequence[Sound],
    captions: Path,
    model: str,
    output: Path,
    request: SamplingConfig,
    settings: Sequence[str],
    judge: Judge,
    **production: Any,
) -> list[Path]:
    """Generate, judge and draw.

    Args:
        sounds: to be made with every combination.
        captions: the file they come from, or a protocol's name.
        model: model folder, bundled name or hub id.
        output: folder of the sweep; what other models left there is drawn along.
        request: the settings that are not swept.
        settings: see :func:`parse_sweep`.
        judge: of the sounds.
        **production: of :func:`consistency_tta.generation.fill.fill`.

    Raises:
        ValueError: the settings cannot be understood, or the judge cannot judge these sounds.
        FileNotFoundError: the judge lacks something.

    Returns:
        The table, the picture and the page; nothing while other processes still have sounds to make.
    """
    grid = parse_sweep(settings)
    judge.check(captions)
    home = output / (re.sub(r"[^\w.-]+", "_", model).strip("._") or "model")
    folders = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        name = "_".join(f"{key}-{value:g}" for key, value in chosen.items())
        folders.append(Folder(home / name, replace(request, **chosen), sounds))
    fill(folders, model, **production)
    if missing := sum(len(folder.missing) for folder in folders):
        print(f"{missing} sounds are other processes' to make; the last of them will judge and draw")
        return []
    judge_all(folders, captions, model, judge, production.get("device"))
    return draw(output, folders[0].path, judge)

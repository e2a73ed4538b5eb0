"""The command ``consistency-tta plan``."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch._subclasses.fake_tensor import FakeTensorMode

from consistency_tta.planning.assumed_values import AssumedValues, CopiedTensors
from consistency_tta.planning.memory import CARDS, RESERVED, Counted
from consistency_tta.planning.parts import parts
from consistency_tta.planning.recipe_chain import neighbours, recipe_that_writes
from consistency_tta.planning.report import cards_table, parts_table, peaks_table
from consistency_tta.planning.variants import count_variants
from consistency_tta.planning.without_weights import MISSING, UnloadedModels
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule


def plan(
    model: TrainingModule,
    data: LightningDataModule,
    trainer: dict[str, Any],
    seed_everything: int = 0,
    processes: int = 8,
    tokens: int = 32,
    output: Path | None = None,
) -> dict[str, Any]:
    """Count the memory that a recipe's training needs, without weights, data or accelerator.

    Takes one step of the recipe on tensors that have shapes and no values, in float32 and bfloat16, with and without
    gradient checkpointing. Models that the recipe names and that are not here are planned with by the recipes that
    train them, or by published sizes; each is named.

    Args:
        model: of the recipe.
        data: of the recipe.
        trainer: of the recipe.
        seed_everything: of the recipe; a plan does not depend on it.
        processes: number of devices, for the strategies ddp and fsdp2.
        tokens: of the batch's captions.
        output: JSON file to write as well.
    """
    if processes < 1 or tokens < 1:
        raise ConfigurationError(f"expected processes and tokens of at least 1, got {processes} and {tokens}")
    for name, instead in MISSING.get().items():
        print(f"{name} is not here: planned with {instead}")
    found = parts(model)
    variants = count_variants(model, data, trainer, tokens)
    batch = next(iter(variants.values())).batch
    print(f"{type(model).__name__}, batch {batch} in each process, captions of {tokens} tokens, memory in GiB\n")
    print(f"{parts_table(found)}\n\n{peaks_table(variants)}\n")
    print(f"Largest batch of each process, {RESERVED / 2**30:g} GiB left free:\n{cards_table(variants, processes)}")
    result = {
        "missing": MISSING.get(),
        "batch": batch,
        "tokens": tokens,
        "parts": {name: asdict(part) for name, part in found.items()},
        "variants": [_row(*key, counted, processes) for key, counted in variants.items()],
    }
    if output is not None:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _row(precision: str, checkpointing: bool, counted: Counted, processes: int) -> dict[str, Any]:
    return {
        "precision": precision,
        "gradient_checkpointing": checkpointing,
        "phases": asdict(counted.peaks),
        "per_example": max(counted.per_example),
        "strategies": [
            {
                "strategy": strategy,
                "processes": number,
                "peak": round(counted.peak(counted.batch, strategy, number)),
                "largest_batch": {f"{card} GB": counted.largest_batch(card, strategy, number) for card in CARDS},
            }
            for strategy, number in counted.strategies(processes)
        ],
    }


def unloaded_models(parser: Any, recipes: Sequence[Path]) -> UnloadedModels:
    """Loaders that read no weights, and follow the recipes that lie next to the ones given.

    Args:
        parser: of this command.
        recipes: YAML files.
    """
    known = neighbours(recipes)

    def of_recipe(folder: str) -> Any | None:
        recipe = recipe_that_writes(folder, known)
        if recipe is None:
            return None
        models.missing[folder] = f"what {recipe.parent.name}/{recipe.name} trains"
        parsed = parser.parse_args(["--config", str(recipe)])
        del parsed["data"]
        return parser.instantiate(parsed).model.pipeline()

    models = UnloadedModels(of_recipe)
    return models


@contextmanager
def shapes_only(parser: Any, recipes: Sequence[Path]) -> Iterator[None]:
    """Within it, what the parser instantiates has tensors without values, and no weights are read.

    Args:
        parser: of this command.
        recipes: that are planned.
    """
    models = unloaded_models(parser, recipes)
    MISSING.set(models.missing)
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True), AssumedValues(), CopiedTensors():
            # Of loaders and evaluation, which a plan does not have.
            warnings.filterwarnings("ignore", module="lightning")
            with models.installed():
                yield
    finally:
        lightning.setLevel(level)

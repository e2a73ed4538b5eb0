"""The command ``plan``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.cli import main
from consistency_tta.cli.commands import COMMANDS
from consistency_tta.cli.own_commands import load
from consistency_tta.planning.memory import CARDS

RECIPE = Path(__file__).parents[2] / "lightning_configs" / "tiny" / "decoder.yaml"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The second tiny recipe, whose model folder is what the first one trains; on one small example."""
    file = tmp_path_factory.mktemp("plan") / "plan.json"
    small = ["--model.crop_frames", "64", "--data.batch_size", "1", "--processes", "4"]
    result = main(["plan", "--config", str(RECIPE), *small, "--output", str(file)])
    assert json.loads(file.read_text()) == json.loads(json.dumps(result))
    return result


def test_a_missing_folder_is_planned_by_the_recipe_that_trains_it(planned: dict[str, Any]) -> None:
    assert planned["missing"] == {"runs/tiny/autoencoder/model": "what tiny/autoencoder.yaml trains"}
    # The autoencoder of that recipe, once in training and once as it was; the average of all of it.
    assert planned["parts"]["trained: model"]["number"] > 1e6
    assert planned["parts"]["averages"]["number"] > planned["parts"]["trained: model"]["number"]


def test_each_combination_has_peaks_strategies_and_cards(planned: dict[str, Any]) -> None:
    combinations = {(row["precision"], row["gradient_checkpointing"]) for row in planned["variants"]}
    assert combinations == {(p, c) for p in ("32-true", "bf16-mixed") for c in (False, True)}
    trained = sum(part["size"] for name, part in planned["parts"].items() if name.startswith("trained"))
    for row in planned["variants"]:
        one, ddp = row["strategies"]  # an autoencoder is too small to be sharded
        assert (one["processes"], ddp["processes"]) == (1, 4)
        assert one["peak"] == max(row["phases"].values())
        assert ddp["peak"] == one["peak"] + trained
        assert [*one["largest_batch"]] == [f"{card} GB" for card in CARDS]
        batches = [*one["largest_batch"].values()]
        assert batches == sorted(batches)


def test_checkpointing_keeps_less(planned: dict[str, Any]) -> None:
    kept = {(row["precision"], row["gradient_checkpointing"]): row["per_example"] for row in planned["variants"]}
    assert kept["32-true", True] < kept["32-true", False]
    assert kept["bf16-mixed", False] < kept["32-true", False]


def test_a_later_file_is_laid_over_the_trainer_of_the_one_before() -> None:
    overlay = RECIPE.parents[1] / "cluster" / "low_memory.yaml"
    _, parser = load("plan", COMMANDS["plan"])
    trainer = parser.parse_args(["--config", str(RECIPE), "--config", str(overlay), "--trainer.max_steps", "7"]).trainer
    assert (trainer.gradient_clip_val, trainer.max_steps) == (1.0, 7)
    names = [callback.class_path.rpartition(".")[2] for callback in trainer.callbacks]
    assert names[0] == "ModelCheckpoint"
    assert names[-1] == "GradientCheckpointing"

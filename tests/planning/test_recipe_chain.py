"""Which recipe writes what another reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.cli.parser import set_up_parsing
from consistency_tta.planning.recipe_chain import neighbours, recipe_that_writes

CONFIGS = Path(__file__).parents[2] / "lightning_configs"


@pytest.mark.parametrize(
    ("folder", "recipe"),
    [
        ("runs/tiny/perceptual/model", "tiny/perceptual.yaml"),
        ("runs/tiny/clap/model", "tiny/clap.yaml"),
        ("runs/audiocaps/teacher/model", "audiocaps/teacher.yaml"),
        ("models/audioldm", None),
    ],
)
def test_the_recipe_of_a_folder_is_found(folder: str, recipe: str | None) -> None:
    set_up_parsing()
    found = recipe_that_writes(
        folder, neighbours([CONFIGS / "tiny" / "audio.yaml", CONFIGS / "audiocaps" / "audio.yaml"])
    )
    assert found == (None if recipe is None else CONFIGS / recipe)

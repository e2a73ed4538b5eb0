"""The combinations that a plan counts."""

from __future__ import annotations

from pathlib import Path

from consistency_tta.planning.variants import count_variants
from consistency_tta.training import GradientCheckpointing
from tests.training.runs import data, distillation


def test_gradient_checkpointing_of_the_recipe_is_counted(teacher_folder: Path) -> None:
    counted = count_variants(distillation(teacher_folder), data(), {"callbacks": [GradientCheckpointing()]}, 4)
    plain = count_variants(distillation(teacher_folder), data(), {}, 4)
    assert counted["32-true", False].peaks.backward < plain["32-true", False].peaks.backward
    assert counted["32-true", False].peaks.backward == counted["32-true", True].peaks.backward

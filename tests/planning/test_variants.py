"""The combinations that a plan counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.contracts import Batch
from consistency_tta.planning import variants
from consistency_tta.planning.counted_step import StepPeaks
from consistency_tta.planning.variants import count_variants
from consistency_tta.training import FrozenInBfloat16, GradientCheckpointing
from consistency_tta.training.frozen_networks import rounded_layers
from tests.training.runs import data, distillation


def test_gradient_checkpointing_of_the_recipe_is_counted(teacher_folder: Path) -> None:
    counted = count_variants(distillation(teacher_folder), data(), {"callbacks": [GradientCheckpointing()]}, 4)
    plain = count_variants(distillation(teacher_folder), data(), {}, 4)
    assert counted["32-true", False].peaks.backward < plain["32-true", False].peaks.backward
    assert counted["32-true", False].peaks.backward == counted["32-true", True].peaks.backward


def test_frozen_networks_are_counted_in_bfloat16(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats = {}

    def counted(module: Any, batches: list[Batch], precision: str, *_: Any) -> list[StepPeaks]:
        layers = rounded_layers(module.frozen.text.encoder)
        formats[precision] = {layer.weight.dtype for layer in layers} | {module.frozen.codec.vae.dtype}
        return [StepPeaks(1, 1, 1, 1)] * 2

    monkeypatch.setattr(variants, "counted_steps", counted)
    count_variants(distillation(teacher_folder), data(), {"callbacks": [FrozenInBfloat16()]}, 4)
    assert formats == {"32-true": {torch.float32}, "bf16-mixed": {torch.bfloat16}}

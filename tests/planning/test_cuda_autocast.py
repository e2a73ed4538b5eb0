"""Number formats of CUDA's autocast on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from consistency_tta.components import blocked_attention
from consistency_tta.planning.counted_step import counted_steps
from consistency_tta.planning.cuda_autocast import CudaAutocast, cuda_formats
from consistency_tta.training import placed_networks
from tests.training.runs import batch, distillation


def test_norms_are_computed_in_float32_and_products_in_bfloat16() -> None:
    features = torch.randn(2, 8, dtype=torch.bfloat16)
    with CudaAutocast(), torch.autocast("cpu", torch.bfloat16):
        assert nn.Linear(8, 8)(features).dtype == torch.bfloat16
        assert nn.LayerNorm(8)(features).dtype == torch.float32
        assert nn.GroupNorm(2, 8)(features).dtype == torch.float32
        assert features.softmax(-1).dtype == torch.float32


def test_nothing_changes_without_autocast() -> None:
    with CudaAutocast():
        assert torch.zeros(2, dtype=torch.bfloat16).exp().dtype == torch.bfloat16


def test_a_step_is_counted_on_a_processor_that_attends_in_blocks(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_attention, "SHORTEST", 1)
    counted = []
    for faster in (False, True):
        monkeypatch.setattr(placed_networks, "faster_in_blocks", lambda faster=faster: faster)
        with cuda_formats():
            counted += counted_steps(distillation(teacher_folder), [batch(2)], "bf16-mixed", {})
    assert counted[0] == counted[1]

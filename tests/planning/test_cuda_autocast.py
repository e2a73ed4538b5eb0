"""Number formats of CUDA's autocast on the CPU."""

from __future__ import annotations

import torch
from torch import nn

from consistency_tta.planning.cuda_autocast import CudaAutocast


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

"""Seeds that every generator takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.seed import seed_or_default


def test_the_seed_of_all_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert seed_or_default(None) == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert [seed_or_default(seed) for seed in (None, 0, 5)] == [17, 0, 5]


def test_what_generators_refuse_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 2**63 - 1
    np.random.default_rng((seed_or_default(largest), 0))
    torch.Generator().manual_seed(seed_or_default(largest))
    for wrong in (-1, 2**63):
        with pytest.raises(ConfigurationError, match=str(wrong)):
            seed_or_default(wrong)
    monkeypatch.setenv("PL_GLOBAL_SEED", "abc")
    with pytest.raises(ConfigurationError, match="abc"):
        seed_or_default(None)

"""Settings of the trainer that cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.trainer_settings import check_settings
from tests.training.runs import trainer


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("accumulate_grad_batches", {"accumulate_grad_batches": 0}),
        ("gradient_clip_val", {"gradient_clip_val": -1.0}),
        ("num_sanity_val_steps", {"num_sanity_val_steps": -2}),
        ("WeightAveraging", {"callbacks": [WeightAveraging()]}),
        ("EMAWeightAveraging", {"callbacks": [EMAWeightAveraging()]}),
        ("StochasticWeightAveraging", {"callbacks": [StochasticWeightAveraging(1e-3)]}),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=name):
        check_settings(trainer(tmp_path, **options))
    check_settings(trainer(tmp_path, accumulate_grad_batches=1, gradient_clip_val=0, num_sanity_val_steps=-1))  # all

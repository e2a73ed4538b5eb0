"""Settings of the trainer that cannot be meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.trainer_settings import check_settings
from tests.training.runs import trainer


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("accumulate_grad_batches", {"accumulate_grad_batches": 0}),
        ("gradient_clip_val", {"gradient_clip_val": -1.0}),
        ("num_sanity_val_steps", {"num_sanity_val_steps": -2}),
        ("check_val_every_n_epoch", {"check_val_every_n_epoch": 0}),
        ("log_every_n_steps", {"log_every_n_steps": -1}),
        ("val_check_interval", {"val_check_interval": 0}),
        ("val_check_interval", {"val_check_interval": 0.0}),
        ("../../x", {"callbacks": [ModelCheckpoint(filename="../../x")]}),
        ("/x", {"callbacks": [ModelCheckpoint(filename="/x")]}),
        ("../x", {"callbacks": [OnExceptionCheckpoint(".", filename="../x")]}),
        ("../../x", {"logger": CSVLogger(".", name="../../x")}),
        ("../x", {"logger": CSVLogger(".", version="../x")}),
        ("/x", {"logger": TensorBoardLogger(".", name="/x")}),
        ("WeightAveraging", {"callbacks": [WeightAveraging()]}),
        ("EMAWeightAveraging", {"callbacks": [EMAWeightAveraging()]}),
        ("StochasticWeightAveraging", {"callbacks": [StochasticWeightAveraging(1e-3)]}),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(name)):
        check_settings(trainer(tmp_path, **{"enable_checkpointing": True} | options))
    check_settings(trainer(tmp_path, accumulate_grad_batches=1, gradient_clip_val=0, num_sanity_val_steps=-1))  # all
    options = {"check_val_every_n_epoch": None, "val_check_interval": 5, "log_every_n_steps": 0}
    saver = ModelCheckpoint("../elsewhere", filename="best/{epoch}..{step}")
    options |= {"logger": [CSVLogger("../elsewhere", name=""), TensorBoardLogger(tmp_path, version="a/..b")]}
    check_settings(trainer(tmp_path, callbacks=[saver], enable_checkpointing=True, **options))

"""No checkpoint is written that could not be read again."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_file import AtomicCheckpointIO, read_checkpoint
from consistency_tta.training.readable_state import check_readable
from tests.training.test_checkpoint_file import WHOLE


@pytest.mark.parametrize("value", [1, None, "a", b"a", [torch.ones(1)], OrderedDict(a=(1, {2})), torch.Size([1])])
def test_what_can_be_read_is_written(value: Any, tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(WHOLE | {"callbacks": {"mine": value}}, tmp_path / "a.ckpt")
    read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("value", [Path("x"), object(), [{"a": object()}], lambda: 1, {Path("x"): 1}])
def test_what_cannot_be_read_is_named_and_not_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="mine"):
        check_readable({"state_dict": {}, "callbacks": {"mine": value}})
    with pytest.raises(CheckpointError):
        AtomicCheckpointIO().save_checkpoint(WHOLE | {"callbacks": {"mine": value}}, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()

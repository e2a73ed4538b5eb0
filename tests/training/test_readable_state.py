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

PLAIN = [1, None, "a", b"a", [torch.ones(1)], OrderedDict(a=(1, {2})), torch.Size([1])]


@pytest.mark.parametrize("value", [*PLAIN, torch.device("cpu"), [torch.float16, torch.float32]])
def test_what_can_be_read_is_written(value: Any, tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(WHOLE | {"callbacks": {"mine": {"state": value}}}, tmp_path / "a.ckpt")
    read_checkpoint(tmp_path / "a.ckpt")


def test_only_one_object_of_each_unusual_kind_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda value, stream: (tried.append(value), save(value, stream)))
    check_readable({"callbacks": [*PLAIN, torch.float16, torch.float32, {"a": torch.float64}]})
    assert tried == [torch.float16]


@pytest.mark.parametrize("value", [Path("x"), object(), [{"a": object()}], lambda: 1, {Path("x"): 1}])
def test_what_cannot_be_read_is_named_and_not_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="mine"):
        check_readable({"state_dict": {}, "callbacks": {"mine": value}})
    with pytest.raises(CheckpointError):
        AtomicCheckpointIO().save_checkpoint(WHOLE | {"callbacks": {"mine": value}}, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()

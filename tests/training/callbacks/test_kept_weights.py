"""A copy of what a training exports takes the place of the weights, and gives it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.training import LoRA
from consistency_tta.training.callbacks.kept_weights import exported_state, replaced_state
from consistency_tta.training.ema import ExponentialMovingAverage
from tests.training.runs import MAKERS, distillation, equal


def with_decoder(folder: Path) -> Any:
    losses = {"latent": LatentL2Loss(), "mel": MelL2Loss()}
    return distillation(folder, losses=losses, train_decoder=True)


def with_lora(folder: Path) -> Any:
    return distillation(folder, lora=LoRA(rank=2))


ALL: dict[str, Callable[..., Any]] = MAKERS | {"decoder": with_decoder, "lora": with_lora}


def exported(module: Any) -> dict[str, Tensor]:
    """The weights of the folder that would be written."""
    parts = module.pipeline().components
    return {
        f"{name}.{key}": value.clone()
        for name, part in parts.items()
        if isinstance(part, nn.Module)
        for key, value in part.state_dict().items()
    }


def change(module: Any) -> dict[str, Tensor]:
    """Change all that a training changes, and return its state."""
    learned = [parameter for learner in module.learners().values() for parameter in learner.module.parameters()]
    frozen = {id(parameter) for parameter in learned if not parameter.requires_grad}
    with torch.no_grad():
        for value in module.state_dict(keep_vars=True).values():
            if id(value) not in frozen:
                value.add_(1)
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", list(ALL))
def test_the_copy_has_all_that_is_exported(name: str, teacher_folder: Path) -> None:
    """Of every training: other averaged weights are exported as they were, once the copy is in their place."""
    module = ALL[name](teacher_folder)
    change(module)
    copy, before = exported_state(module), exported(module)
    changed = change(module)
    after = exported(module)
    assert not equal(after, before)
    with replaced_state(module, copy):
        assert equal(exported(module), before)
    assert equal(exported(module), after)
    with pytest.raises(RuntimeError, match="within"), replaced_state(module, copy):
        raise RuntimeError("within")
    assert equal(dict(module.state_dict()), changed)
    with replaced_state(module, None):
        assert equal(dict(module.state_dict()), changed)


@pytest.mark.parametrize("name", list(ALL))
def test_the_copy_has_nothing_else(name: str, teacher_folder: Path) -> None:
    """No weights in training, no target, no gradients: it is in every checkpoint."""
    module = ALL[name](teacher_folder)
    copy = exported_state(module)
    trained = {id(parameter) for learner in module.learners().values() for parameter in learner.module.parameters()}
    assert not copy.keys() & {key for key, value in module.state_dict(keep_vars=True).items() if id(value) in trained}
    assert not any(key.startswith("target.") for key in copy)
    assert not any(value.requires_grad for value in copy.values())
    size = sum(value.numel() for key, value in module.named_parameters() if key in copy)
    assert size <= sum(value.numel() for value in exported(module).values())


class OneAverage(nn.Module):
    """An average that comes before its source, which does not train its first layer, and a layer without an average."""

    def __init__(self) -> None:
        super().__init__()
        source = nn.Sequential(nn.Linear(1, 1).requires_grad_(False), nn.Linear(1, 1))
        self.average = ExponentialMovingAverage(source, 0.9)
        self.source, self.single = source, nn.Linear(1, 1)

    def pipeline(self) -> Any:
        return SimpleNamespace(components={"averaged": self.average.module[1], "single": self.single, "other": None})


def test_what_an_average_shares_is_left_out_in_whatever_order_and_gradients_do_not_follow() -> None:
    module: Any = OneAverage()
    copy = exported_state(module)
    names = [f"{name}.{kind}" for name in ("average.module.1", "single") for kind in ("weight", "bias")]
    assert [name for name in copy if "extra_state" not in name] == names
    assert not any(value.requires_grad for value in copy.values())

"""Activations that are computed again: more forward passes, the same step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from lightning.pytorch import LightningModule

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import GradientCheckpointing
from tests.toys import UNET_OF_ALL_BLOCKS
from tests.training.runs import Losses, data, diffusion, trainer, vocoder


def test_it_repeats_forward_passes_and_changes_no_loss(teacher_folder: Path, tmp_path: Path) -> None:
    losses, calls = [], []
    for callbacks in ([], [GradientCheckpointing()]):
        torch.manual_seed(0)
        module, notes, seen = diffusion(teacher_folder), Losses(), []
        block = module.networks["denoiser"].network.down_blocks[0].resnets[0]
        block.register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        trainer(tmp_path, max_steps=2, callbacks=[notes, *callbacks]).fit(module, data())
        losses.append(notes.values)
        calls.append(len(seen))
    assert losses[1] == losses[0]
    assert calls == [2, 4]


def test_a_training_without_such_a_network_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        trainer(tmp_path, max_steps=1, callbacks=[GradientCheckpointing()]).fit(vocoder(teacher_folder), data())


class Plain(ModelMixin, ConfigMixin):
    """A network of diffusers' that cannot do it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)


def test_networks_in_training_alone_repeat_theirs(tmp_path: Path) -> None:
    module = LightningModule()
    module.trained, module.frozen = (UNet2DConditionModel(**UNET_OF_ALL_BLOCKS) for _ in range(2))
    module.frozen.requires_grad_(False)
    module.plain = Plain()
    GradientCheckpointing().on_fit_start(trainer(tmp_path), module)
    assert module.trained.is_gradient_checkpointing
    assert not module.frozen.is_gradient_checkpointing
    del module.trained
    with pytest.raises(ConfigurationError):
        GradientCheckpointing().on_fit_start(trainer(tmp_path), module)

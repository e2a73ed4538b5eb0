"""Activations that are computed again: more forward passes, the same step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import GradientCheckpointing
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

"""Mel losses against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.contracts import Batch, Loss
from consistency_tta.losses import MelL1Loss, MelL2Loss, MelModulationLoss
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.losses.outputs import Sounds


@pytest.mark.parametrize(("loss", "power"), [(MelL1Loss(), 1), (MelL2Loss(), 2)])
def test_is_the_mean_per_example(loss: Loss, power: int) -> None:
    student, target = torch.randn(2, 3, 12, 16)
    student.requires_grad_(True)
    values = loss(Sounds(student_mel=student, target_mel=target))
    difference = np.abs((student - target).detach().numpy())
    np.testing.assert_allclose(values.detach().numpy(), np.mean(difference**power, axis=(1, 2)), rtol=1e-5)
    values[1].backward()
    assert student.grad is not None
    assert student.grad[1].abs().min() > 0
    assert torch.equal(student.grad[0], torch.zeros(12, 16))  # examples are independent


@pytest.mark.parametrize("loss", [MelL1Loss(), MelL2Loss()])
def test_equality_costs_nothing_and_noise_weighting_does_not_apply(loss: Loss) -> None:
    mel = torch.randn(3, 12, 16, requires_grad=True)
    values = loss(Sounds(student_mel=mel, target_mel=mel.detach()))
    assert torch.equal(values, torch.zeros(3))
    values.sum().backward()
    assert torch.equal(mel.grad, torch.zeros_like(mel))
    assert not loss.noise_weighted
    assert loss.state_dict() == {}


def test_the_recording_is_there_only_with_audio() -> None:
    out = Sounds()
    out.batch = Batch(["a dog"], ["id"])
    with pytest.raises(DataError):
        _ = out.reference_waveform


@pytest.mark.parametrize("frames", [2, 8])
def test_means_over_frames_forgive_noise_but_not_level(frames: int) -> None:
    student, target = torch.randn(2, 4, 50, 16)
    loss = MelL1Loss(frames=frames)
    blocks = np.stack([(student - target).numpy()[:, k : k + frames].mean(1) for k in range(0, 50, frames)], axis=1)
    found = loss(Sounds(student_mel=student, target_mel=target))
    np.testing.assert_allclose(found.numpy(), np.abs(blocks).mean((1, 2)), rtol=1e-4)
    assert (found < 0.8 * MelL1Loss()(Sounds(student_mel=student, target_mel=target))).all()
    torch.testing.assert_close(loss(Sounds(student_mel=target + 0.5, target_mel=target)), torch.full((4,), 0.5))
    with pytest.raises(ConfigurationError, match="frames"):
        MelL1Loss(frames=0)


@pytest.mark.parametrize("loss", [MelL1Loss, MelModulationLoss])
def test_a_front_end_of_its_own_reads_the_waveforms(loss: type[MelL1Loss | MelModulationLoss]) -> None:
    front_end, (student, target) = MelSpectrogram(n_fft=400), torch.randn(2, 2, 12800)
    student.requires_grad_(True)
    target.requires_grad_(True)
    values = loss(front_end=front_end)(Sounds(student_waveform=student, target_waveform=target))
    torch.testing.assert_close(values, loss()(Sounds(student_mel=front_end(student), target_mel=front_end(target))))
    values.sum().backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0
    assert target.grad is None

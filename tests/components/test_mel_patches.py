"""Mels as pictures, and back."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.mel_patches import to_mel, to_pictures


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_way_back_is_the_inverse(patch: int) -> None:
    mel = 3 * torch.randn(2, 16, 8) - 5
    pictures = to_pictures(mel, patch)
    assert pictures.shape == (2, patch**2, 16 // patch, 8 // patch)
    assert torch.allclose(to_mel(pictures, patch), mel, atol=1e-5)


def test_a_position_s_channels_are_one_patch_of_about_unit_size() -> None:
    mel = torch.randn(1, 8, 8)
    patch = to_pictures(2.5 * mel - 5, 4)[0, :, 1, 0]
    assert torch.allclose(patch, mel[0, 4:, :4].flatten(), atol=1e-5)


def test_pictures_of_one_channel_are_mels_as_they_are() -> None:
    mel = torch.randn(1, 8, 8)
    assert torch.equal(to_pictures(mel, 1)[:, 0], mel)
    assert to_mel(mel[:, None].bfloat16(), 1).dtype is torch.float32

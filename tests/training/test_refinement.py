"""Refining a decoder: the latents stay as they are, the decoder and its adversary learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import NUM_SAMPLES
from tests.training.runs import batch, data, refinement, trainer


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_only_decoder_and_adversary_are_trained(teacher_folder: Path, tmp_path: Path) -> None:
    module = refinement(teacher_folder, average_decay=0.0)
    before = TextToAudioPipeline.from_pretrained(teacher_folder)
    judge = weights(module.adversary)
    trainer(tmp_path, max_steps=3).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "model")
    after = TextToAudioPipeline.from_pretrained(tmp_path / "model")
    assert after.vae.config.scaling_factor == before.vae.config.scaling_factor
    mel = before.mel(batch(2).waveform)
    moments = before.codec.mel_to_moments(mel)
    assert torch.equal(after.codec.mel_to_moments(mel), moments)
    assert not torch.equal(after.codec.latent_to_mel(moments[:, :4]), before.codec.latent_to_mel(moments[:, :4]))
    for ours, expected in zip(weights(after.vae), weights(module.vae), strict=True):
        assert torch.equal(ours, expected)
    assert all(not torch.equal(old, new) for old, new in zip(judge, weights(module.adversary), strict=True))


def test_it_logs_both_sides_and_validates_whole_clips(teacher_folder: Path, tmp_path: Path) -> None:
    module, run = refinement(teacher_folder), trainer(tmp_path, max_steps=1, limit_val_batches=1)
    run.fit(module, data())
    assert {"train/adversarial", "train/feature", "train/discriminator", "train/loss/mel"} <= set(run.logged_metrics)
    run.validate(module, data(), verbose=False)
    torch.testing.assert_close(run.logged_metrics["val/loss"], 4 * run.logged_metrics["val/loss/mel"])
    assert "val/discriminator" not in run.logged_metrics


def test_a_vocoder_is_put_in_the_folder(teacher_folder: Path, tmp_path: Path) -> None:
    vocoder = GriffinLimVocoder(model_in_dim=16, n_fft=512, num_iterations=1, num_updates=2)
    module = refinement(teacher_folder, vocoder=vocoder)
    assert module.previews(batch(2))[0].waveform.shape == (NUM_SAMPLES,)
    module.pipeline().save_pretrained(tmp_path)
    assert isinstance(TextToAudioPipeline.from_pretrained(tmp_path).vocoder, GriffinLimVocoder)


def test_wrong_settings_are_named(teacher_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"crop_frames to be a multiple of 4, .* got 10"):
        refinement(teacher_folder, crop_frames=10)

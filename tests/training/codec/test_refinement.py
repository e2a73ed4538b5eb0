"""Refining a decoder: the latents stay as they are, the decoder and its adversary learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.losses import MelL1Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.codec.refinement import DecodedOutput
from tests.toys import NUM_SAMPLES, toy_parts
from tests.training.runs import batch, data, in_training, refinement, rng, trainer


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_only_decoder_and_adversary_are_trained(teacher_folder: Path, tmp_path: Path) -> None:
    module = refinement(teacher_folder, ema_decay=0.0)
    before = TextToAudioPipeline.from_pretrained(teacher_folder)
    discriminator = weights(module.losses["adversary"])
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
    assert all(
        not torch.equal(old, new) for old, new in zip(discriminator, weights(module.losses["adversary"]), strict=True)
    )


def test_it_trains_on_crops_and_validates_whole_clips(teacher_folder: Path, tmp_path: Path) -> None:
    frames: list[int] = []
    module = in_training(refinement(teacher_folder), tmp_path)
    module.losses["mel"].register_forward_pre_hook(lambda _module, args: frames.append(args[0].student_mel.shape[1]))
    module.loss(batch(2), rng())
    module.trainer.training = False
    module.loss(batch(2), rng())
    assert frames == [16, 32]


def test_crops_lie_at_all_places(teacher_folder: Path, tmp_path: Path) -> None:
    outs: list[DecodedOutput] = []
    module = in_training(refinement(teacher_folder, losses={"mel": MelL1Loss()}, loss_weights=None), tmp_path)
    module.losses["mel"].register_forward_pre_hook(lambda _module, args: outs.append(args[0]))
    sounds, starts = batch(4), set()
    whole = module.frozen.codec.waveform_to_mel(sounds.waveform)
    for draw in range(6):
        module.loss(sounds, rng(draw))
        for row, mel in enumerate(outs[-1].target_mel):
            [start] = [start for start in range(17) if torch.equal(mel, whole[row, start : start + 16])]
            span = sounds.waveform[row, start * 160 : (start + 16) * 160]
            assert torch.equal(outs[-1].reference_waveform[row], span)
            starts.add(start)
    assert len(starts) > 8
    assert max(starts) > 12


def test_the_encoder_cannot_be_trained(teacher_folder: Path) -> None:
    module = refinement(teacher_folder)
    trained = {id(parameter) for parameter in module.vae.parameters() if parameter.requires_grad}
    assert trained == {id(parameter) for parameter in module.trainable().parameters()}
    assert not any(parameter.requires_grad for parameter in module.vae.encoder.parameters())


def test_it_logs_both_sides(teacher_folder: Path, tmp_path: Path) -> None:
    module, run = refinement(teacher_folder), trainer(tmp_path, max_steps=1, limit_val_batches=1)
    run.fit(module, data())
    parts = {f"train/loss/adversary/{part}" for part in ("adversarial", "feature", "discriminator")} | {
        "train/loss/mel"
    }
    assert parts <= set(run.logged_metrics)
    run.validate(module, data(), verbose=False)
    torch.testing.assert_close(run.logged_metrics["val/loss"], 4 * run.logged_metrics["val/loss/mel"])
    assert not any(name.startswith("val/loss/adversary") for name in run.logged_metrics)


def test_a_vocoder_is_put_in_the_folder(teacher_folder: Path, tmp_path: Path) -> None:
    vocoder = GriffinLimVocoder(model_in_dim=16, n_fft=512, num_iterations=1, num_updates=2)
    module = refinement(teacher_folder, vocoder=vocoder)
    assert module.previews(batch(2))[0].waveform.shape == (NUM_SAMPLES,)
    module.pipeline().save_pretrained(tmp_path)
    assert isinstance(TextToAudioPipeline.from_pretrained(tmp_path).vocoder, GriffinLimVocoder)


def test_previews_without_a_vocoder_are_mels(tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(mel=parts["mel"], vae=parts["vae"]).save_pretrained(tmp_path)
    previews = refinement(tmp_path).previews(batch(2))
    assert [(preview.name, preview.waveform) for preview in previews] == [(name, None) for name in batch(2).ids]


def test_wrong_settings_are_named(teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="crop_frames"):
        refinement(teacher_folder, crop_frames=10)


def test_losses_of_sound_hear_the_vocoder_and_the_same_crop_of_the_recording(
    teacher_folder: Path, tmp_path: Path
) -> None:
    outs: list[DecodedOutput] = []
    module = refinement(teacher_folder, losses={"stft": MultiResolutionSTFTLoss([128], [32], [128])}, loss_weights=None)
    module.losses["stft"].register_forward_pre_hook(lambda _module, args: outs.append(args[0]))
    trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, data())
    [out] = outs
    samples = 16 * module.frozen.codec.mel.config["hop_length"]
    assert out.student_waveform.shape == out.target_waveform.shape == out.reference_waveform.shape == (4, samples)
    assert out.student_waveform.requires_grad
    assert not out.target_waveform.requires_grad
    assert torch.equal(out.target_waveform, module.frozen.codec.mel_to_waveform(out.target_mel))
    # Away from the edges, where the front end sees what the crop has not.
    mel = module.frozen.codec.waveform_to_mel(out.reference_waveform)
    torch.testing.assert_close(mel[:, 4:-4], out.target_mel[:, 4:-4])

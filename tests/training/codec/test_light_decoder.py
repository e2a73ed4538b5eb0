"""Distilling decoder and vocoder into one network: it learns their sound, and its folder generates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.components.discriminator import SpectrogramDiscriminator
from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.light_codec import LightCodec
from consistency_tta.contracts import AudioOutput, Loss
from consistency_tta.losses import AdversarialLoss, MelL1Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import codec_fingerprint
from consistency_tta.runtime.errors import ConfigurationError, DataError, ModelFolderError
from consistency_tta.training import LightDecoderTraining
from tests.toys import LIGHT_DECODER, NUM_SAMPLES, toy_parts
from tests.training.runs import FAST, batch, data, distillation, in_training, rng, trainer


class Seen(Loss):
    """Notes what a loss is given."""

    noise_weighted = False

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[AudioOutput] = []

    def forward(self, out: AudioOutput) -> Tensor:
        self.outputs.append(out)
        return (out.student_waveform - out.target_waveform).square().mean(1)


class NotedMelLoss(MelL1Loss):
    """Notes its means."""

    def __init__(self) -> None:
        super().__init__()
        self.means: list[float] = []

    def forward(self, out: AudioOutput) -> Tensor:
        values = super().forward(out)
        self.means.append(values.mean().item())
        return values


def light_decoder(folder: Path, **kwargs: Any) -> LightDecoderTraining:
    settings = {
        "decoder": FourierDecoder(**LIGHT_DECODER),
        "losses": {"mel": MelL1Loss()},
        "crop_frames": 16,
        "optimization": FAST,
    }
    return LightDecoderTraining(str(folder), **(settings | kwargs))


def test_losses_see_the_sound_of_the_folders_own_decoders(teacher_folder: Path, tmp_path: Path) -> None:
    seen = Seen()
    module = in_training(light_decoder(teacher_folder, losses={"seen": seen}, crop_frames=0), tmp_path)
    sounds = batch(2)
    codec = module.frozen.codec
    module.loss(sounds, rng(0))
    expected = codec.decode(module.latent(sounds, rng(0)))[:, 0]
    torch.testing.assert_close(seen.outputs[0].target_waveform, expected)
    assert torch.equal(seen.outputs[0].reference_waveform, seen.outputs[0].target_waveform)
    assert not seen.outputs[0].target_waveform.requires_grad
    moments = codec.encode(sounds.waveform)
    module.loss(replace(sounds, waveform=None, moments=moments), rng(0))  # encoded beforehand
    torch.testing.assert_close(seen.outputs[1].target_waveform, expected)


def test_latents_are_drawn_from_the_posterior_in_training_alone(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(light_decoder(teacher_folder), tmp_path)
    codec = module.frozen.codec
    moments = codec.encode(batch(2).waveform).bfloat16()  # as Lightning casts them
    encoded = replace(batch(2), waveform=None, moments=moments)
    assert not torch.equal(module.latent(encoded, rng(0)), module.latent(encoded, rng(1)))
    module.trainer.training = False
    torch.testing.assert_close(module.latent(encoded, rng(0)), codec.moments_to_latent(moments.float()))


def test_crops_are_spans_of_the_latents(teacher_folder: Path, tmp_path: Path) -> None:
    seen = Seen()
    module = in_training(light_decoder(teacher_folder, losses={"seen": seen}), tmp_path)
    sounds, given = batch(4), []
    module.vocoder.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
    starts = set()
    for step in range(4):
        module.loss(sounds, rng(step))
        whole = module.latent(sounds, rng(step))
        assert seen.outputs[-1].student_waveform.shape == (4, 16 * 160)
        for row, latent in enumerate(given[-1]):
            [start] = [at for at in range(5) if torch.equal(latent, whole[row, :, at : at + 4])]
            starts.add(start)
    assert len(starts) > 2
    module.trainer.training = False
    module.loss(sounds, rng(0))
    assert seen.outputs[-1].student_waveform.shape == (4, NUM_SAMPLES)  # whole clips


def test_previews_are_the_clips_through_the_averaged_network(teacher_folder: Path) -> None:
    module, sounds = light_decoder(teacher_folder), batch(2)
    codec = module.frozen.codec
    moments = codec.encode(sounds.waveform)
    expected = module.average.module(codec.moments_to_latent(moments))
    with torch.no_grad():
        for clips in (sounds, replace(sounds, waveform=None, moments=moments)):
            previews = module.previews(clips)
            assert [preview.name for preview in previews] == sounds.ids
            made = torch.stack([preview.waveform for preview in previews])
            torch.testing.assert_close(made, expected)
            mels = torch.stack([preview.mel for preview in previews])
            torch.testing.assert_close(mels, codec.waveform_to_mel(made))
        rounded = moments.bfloat16()  # as Lightning casts what was encoded beforehand
        half, full = (module.previews(replace(sounds, waveform=None, moments=m)) for m in (rounded, rounded.float()))
        for one, other in zip(half, full, strict=True):
            assert torch.equal(one.waveform, other.waveform)


def test_data_of_another_autoencoder_or_rate_are_refused(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(light_decoder(teacher_folder), tmp_path)
    networks = {"codec": {"model": "runs/another/model", "sha256": "0" * 64}}
    module.trainer.datamodule = SimpleNamespace(encodings={"latents": networks}, sample_rate=16000)
    with pytest.raises(DataError, match=rf"runs/another/model.*{teacher_folder}"):
        module.setup("fit")
    networks["codec"]["sha256"] = codec_fingerprint(module.frozen.codec)
    module.setup("fit")
    module.trainer.datamodule.sample_rate = 44100
    with pytest.raises(ValueError, match="44100"):
        module.setup("fit")


def test_there_must_be_a_vocoder_to_learn_from(tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(mel=parts["mel"], vae=parts["vae"]).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="vocoder"):
        light_decoder(tmp_path)


def test_it_learns_against_a_discriminator_and_its_folder_generates(teacher_folder: Path, tmp_path: Path) -> None:
    discriminator = SpectrogramDiscriminator(n_ffts=[256], channels=4)
    mel = NotedMelLoss()
    losses: dict[str, Loss] = {"mel": mel, "stft": MultiResolutionSTFTLoss()}
    losses["adversary"] = AdversarialLoss(discriminator)
    module = light_decoder(teacher_folder, losses=losses)
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    trainer(tmp_path, max_steps=60).fit(module, data())
    assert sum(mel.means[-10:]) < 0.8 * sum(mel.means[:10])
    assert any(not torch.equal(value, before[name]) for name, value in discriminator.state_dict().items())

    module.pipeline().save_pretrained(tmp_path / "model")
    old, new = map(TextToAudioPipeline.from_pretrained, (teacher_folder, tmp_path / "model"))
    assert isinstance(new.codec, LightCodec)
    noise = torch.randn(1, 4, 8, 4)
    made = [pipeline("a tone", num_inference_steps=1, latents=noise) for pipeline in (old, new)]
    assert torch.equal(made[0].latent, made[1].latent)
    assert made[0].waveform.shape == made[1].waveform.shape
    exported = new.vocoder.state_dict()
    for name, value in module.average.module.state_dict().items():
        assert torch.equal(exported[name], value)
    [preview] = module.previews(batch(1))
    assert preview.waveform is not None
    assert preview.waveform.shape == (NUM_SAMPLES,)

    # Stage 3 compares sounds of the light decoder, and cannot train a decoder that it does not use.
    stage3 = in_training(distillation(tmp_path / "model", losses={"stft": MultiResolutionSTFTLoss()}), tmp_path)
    stage3.loss(batch(2), rng(0)).backward()
    assert any(p.grad is not None and p.grad.any() for p in stage3.student.parameters())
    with pytest.raises(ConfigurationError, match="train_decoder"):
        distillation(tmp_path / "model", losses={"mel": MelL1Loss()}, train_decoder=True)


def test_a_decoder_of_other_latents_is_refused_before_training(teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="latent_bins"):
        light_decoder(teacher_folder, decoder=FourierDecoder(**(LIGHT_DECODER | {"latent_bins": 8})))

"""A decoder trained along with the student, and a crop of what it decodes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from consistency_tta.components.codec import MelCodec
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.decoder import Crop, TrainedDecoder, own_autoencoder
from tests.toys import VAE, toy_parts
from tests.training.recorded_encoder import AudioEmbedding, weights, with_decoder
from tests.training.runs import (
    Losses,
    batch,
    data,
    equal,
    in_training,
    rng,
    snapshot,
    trainer,
)


def test_only_the_decoder_is_trained_and_only_its_copy(teacher_folder: Path, tmp_path: Path) -> None:
    module = with_decoder(teacher_folder)
    before, frozen = weights(module.decoders.decoder.parts), weights(module.frozen.codec)
    trainer(tmp_path, max_steps=3).fit(module, data())
    assert equal(weights(module.frozen.codec), frozen)
    after = weights(module.decoders.decoder.parts)
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    assert {name.split(".")[0] for name in after} == {"decoder", "post_quant_conv"}
    # Everything around it is shared, and cannot be trained.
    for codec in module.decoders.decoder.codec(averaged=False), module.decoders.decoder.codec(averaged=True):
        assert codec.vocoder is module.frozen.codec.vocoder
        assert codec.vae.encoder is module.frozen.codec.vae.encoder
        assert codec.vae.decoder is not module.frozen.codec.vae.decoder
    assert not any(parameter.requires_grad for parameter in module.frozen.codec.parameters())


def test_targets_are_decoded_by_the_frozen_decoder(teacher_folder: Path, tmp_path: Path) -> None:
    outputs = AudioEmbedding()
    module = in_training(with_decoder(teacher_folder, losses={"sound": outputs}), tmp_path)
    with torch.no_grad():
        for parameter in module.decoders.decoder.parts.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    for training in (False, True):
        module.trainer.training = training
        with torch.set_grad_enabled(training):
            module.loss(batch(2), rng())
    for out, averaged in zip(outputs.seen, (True, False), strict=True):
        expected = module.decoders.decoder.codec(averaged).latent_to_mel(out.student_latent)
        torch.testing.assert_close(out.student_mel, expected)
        torch.testing.assert_close(out.target_mel, module.frozen.codec.latent_to_mel(out.target_latent))
    # In training the decoder has moved; its average has not.
    moved = module.decoders.decoder.codec(False).latent_to_mel(out.target_latent)
    assert not torch.allclose(moved, out.target_mel, atol=1e-3)
    mean = module.decoders.decoder.codec(True).latent_to_mel(out.target_latent)
    torch.testing.assert_close(mean, out.target_mel)


def test_the_averaged_decoder_is_exported(teacher_folder: Path, tmp_path: Path) -> None:
    module = with_decoder(teacher_folder, ema_decay=0.5)
    trainer(tmp_path, max_steps=4).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "student")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "student")
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    latent = torch.randn(2, 4, 8, 4)
    expected = module.decoders.decoder.codec(averaged=True).latent_to_mel(latent)
    torch.testing.assert_close(loaded.codec.latent_to_mel(latent), expected)
    for other in module.decoders.decoder.codec(averaged=False), teacher.codec:
        assert not torch.allclose(other.latent_to_mel(latent), expected, atol=1e-6)
    assert equal(weights(loaded.vae.encoder), weights(teacher.vae.encoder))
    # A later stage starts from there, and still aims at the teacher's sounds.
    later = with_decoder(teacher_folder, student=str(tmp_path / "student"))
    torch.testing.assert_close(later.decoders.decoder.codec(averaged=False).latent_to_mel(latent), expected)
    torch.testing.assert_close(later.frozen.codec.latent_to_mel(latent), teacher.codec.latent_to_mel(latent))


def test_a_run_with_a_decoder_resumes_bit_for_bit(teacher_folder: Path, tmp_path: Path) -> None:
    straight, resumed = Losses(), Losses()
    options = {"crop_frames": 16}
    module, again = with_decoder(teacher_folder, **options), with_decoder(teacher_folder, **options)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=4, save_top_k=-1)
    run = trainer(tmp_path, max_steps=8, callbacks=[straight, saver], enable_checkpointing=True)
    run.fit(module, data())
    rerun = trainer(tmp_path, max_steps=8, callbacks=[resumed])
    rerun.fit(again, data(), ckpt_path=str(tmp_path / "step=4.ckpt"), weights_only=True)
    assert resumed.values == straight.values[4:]
    assert equal(snapshot(module, run), snapshot(again, rerun))
    names = set(torch.load(tmp_path / "step=4.ckpt", weights_only=True)["state_dict"])
    assert {name.split(".")[0] for name in names} == {"student", "target", "average", "decoders"}
    assert not any("encoder" in name for name in names)


def test_a_decoder_without_a_loss_of_sound_is_refused(teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="train_decoder"):
        with_decoder(teacher_folder, losses={"latent": LatentL2Loss()})


def scaled(vae: nn.Module, name: str, factor: float) -> nn.Module:
    """A copy of which one part's weights are multiplied."""
    copy = deepcopy(vae)
    with torch.no_grad():
        copy.get_submodule(name).weight.mul_(factor)
    return copy


def test_a_students_decoder_is_its_own_where_the_encoder_is_the_teachers() -> None:
    teacher = AutoencoderKL(**VAE)
    for part in ("decoder.conv_in", "post_quant_conv"):
        own = scaled(teacher, part, 1.001)
        assert own_autoencoder(own, teacher) is own
    half = deepcopy(own).bfloat16().float()  # to half a per cent
    assert own_autoencoder(half, teacher) is half
    for other in (None, teacher, deepcopy(teacher), scaled(own, "encoder.conv_in", 1.03), scaled(own, "quant_conv", 2)):
        assert own_autoencoder(other, teacher) is teacher
    for changed in ({"latent_channels": 8}, {"block_out_channels": (4, 8)}):
        settings = VAE | changed
        blocks = len(settings["block_out_channels"])
        settings |= {
            "down_block_types": ("DownEncoderBlock2D",) * blocks,
            "up_block_types": ("UpDecoderBlock2D",) * blocks,
        }
        assert own_autoencoder(AutoencoderKL(**settings), teacher) is teacher


def test_weights_that_are_nearly_zero_may_be_rounded_to_zero() -> None:
    teacher = AutoencoderKL(**VAE)
    own = scaled(teacher, "decoder.conv_in", 2)
    for value, expected in ((5e-7, own), (1e-4, teacher)):
        with torch.no_grad():
            own.encoder.conv_in.bias.zero_()
            teacher.encoder.conv_in.bias.fill_(value)
        assert own_autoencoder(own, teacher) is expected


def test_a_crop_of_numbered_frames() -> None:
    crop = Crop([1, 0], frames=2, samples_per_frame=3)
    latent = torch.arange(4.0).view(1, 1, 4, 1).expand(2, 5, 4, 6)
    assert crop.latent(latent)[:, 0, :, 0].tolist() == [[1, 2], [0, 1]]
    assert crop.waveform(torch.arange(12).expand(2, 12)).tolist() == [[3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5]]
    stereo = torch.arange(12).expand(2, 2, 12) + torch.tensor([0, 100])[:, None]
    assert crop.waveform(stereo)[0].tolist() == [[3, 4, 5, 6, 7, 8], [103, 104, 105, 106, 107, 108]]


def test_the_average_of_a_decoder_is_warmed_up() -> None:
    codec = MelCodec(toy_parts()["mel"], toy_parts()["vae"])
    decoder = TrainedDecoder(codec, codec.vae, 0.999)
    average = decoder.codec(averaged=True).vae.decoder.conv_in.weight
    expected = average + 0.9
    with torch.no_grad():
        decoder.codec(averaged=False).vae.decoder.conv_in.weight.add_(1)
    decoder.update_average()
    torch.testing.assert_close(average, expected)


def test_an_autoencoder_without_the_optional_convolution() -> None:
    codec = MelCodec(toy_parts()["mel"], toy_parts()["vae"])
    codec.vae.post_quant_conv = None
    decoder = TrainedDecoder(codec, codec.vae, 0.9)
    assert set(decoder.parts) == {"decoder"}
    assert decoder.codec(averaged=False).latent_to_mel(torch.randn(1, 4, 8, 4)).shape == (1, 32, 16)

"""Which decoders losses of sound hear through, kept or computed again, and what of the clips."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.light_codec import LightCodec
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.loss_decoders import DecodingConfig, LossDecoders
from tests.toys import LIGHT_DECODER, stereo_parts, toy_parts
from tests.training.recorded_encoder import AudioEmbedding, weights, with_decoder
from tests.training.runs import batch, data, distillation, equal, guidance, in_training, rng, trainer


def tuned_student(teacher_folder: Path, folder: Path) -> Path:
    """A student's folder whose decoder is not the teacher's any more."""
    module = with_decoder(teacher_folder, ema_decay=0.0)
    with torch.no_grad():
        for parameter in module.decoders.decoder.average.module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    module.pipeline().save_pretrained(folder)
    return folder


def decoders(**options: Any) -> tuple[LossDecoders, MelCodec]:
    """Of a student whose decoder an earlier stage has tuned, and the teacher's codec."""
    parts = toy_parts()
    codec = MelCodec(parts["mel"], parts["vae"], parts["vocoder"]).requires_grad_(False)
    tuned = deepcopy(parts["vae"])
    torch.nn.init.normal_(tuned.decoder.conv_in.bias)
    return LossDecoders(codec, tuned, 8, DecodingConfig(**options), 0.9), codec


@pytest.mark.parametrize("train_decoder", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_teachers_and_the_students_decoder_are_checkpointed(train_decoder: bool, checkpointing: bool) -> None:
    made, codec = decoders(train_decoder=train_decoder, gradient_checkpointing=checkpointing)
    made.setup()
    students = [made.student_codec(averaged) for averaged in (False, True)]
    assert (students[0] is not students[1]) == train_decoder
    for each in (codec, *students):
        assert each.vae.decoder.gradient_checkpointing == checkpointing


@pytest.mark.parametrize("start", ["none", "the teacher's", "a copy"])
def test_a_student_without_a_decoder_of_its_own_has_no_codec(start: str) -> None:
    parts = toy_parts()
    codec = MelCodec(parts["mel"], parts["vae"], parts["vocoder"])
    given = {"none": None, "the teacher's": codec.vae, "a copy": deepcopy(codec.vae)}[start]
    assert LossDecoders(codec, given, 8, DecodingConfig(), 0.9).student_codec(averaged=True) is None


def test_a_codec_of_waveforms_is_cropped_in_latent_frames() -> None:
    codec = TextToAudioPipeline(**stereo_parts()).codec
    clips = replace(batch(2), waveform=torch.randn(2, 2, 16 * 64))
    given = LossDecoders(codec, None, 16, DecodingConfig(crop_frames=3), 0.9).decoding(clips, rng(), training=True)
    assert given["batch"].waveform.shape == (2, 2, 3 * 64)
    assert given["crop"](torch.randn(2, 4, 16)).shape == (2, 4, 3)
    with pytest.raises(ConfigurationError, match="17"):
        LossDecoders(codec, None, 16, DecodingConfig(crop_frames=17), 0.9)


def test_an_autoencoders_decoder_that_is_not_used_cannot_be_trained() -> None:
    parts = toy_parts()
    codec = LightCodec(parts["mel"], parts["vae"], FourierDecoder(**LIGHT_DECODER))
    with pytest.raises(ConfigurationError, match="train_decoder"):
        LossDecoders(codec, parts["vae"], 8, DecodingConfig(train_decoder=True), 0.9)


def test_a_crop_is_without_what_is_known_of_whole_clips_alone() -> None:
    made, codec = decoders(crop_frames=8)
    clips = replace(batch(2), waveform=None, audio_embeddings={"a" * 64: torch.zeros(2, 3)})
    cropped = made.decoding(clips, rng(), training=True)
    assert (cropped["batch"].waveform, cropped["batch"].audio_embeddings) == (None, {})
    assert cropped["batch"].captions == clips.captions
    whole = made.decoding(clips, rng(), training=False)
    assert whole == {"batch": clips, "decoder": codec, "student_decoder": made.student_codec(averaged=True)}


@pytest.mark.parametrize("half", [False, True])
def test_a_tuned_decoder_is_kept_by_later_stages_that_do_not_train_it(
    half: bool, teacher_folder: Path, tmp_path: Path
) -> None:
    folder, latent = tuned_student(teacher_folder, tmp_path / "earlier"), torch.randn(2, 4, 8, 4)
    if half:
        TextToAudioPipeline.from_pretrained(folder).to(torch.float16).save_pretrained(folder)
    expected = TextToAudioPipeline.from_pretrained(folder).codec.latent_to_mel(latent)
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    assert not torch.allclose(teacher.codec.latent_to_mel(latent), expected, atol=1e-2)
    outputs = AudioEmbedding()
    module = distillation(teacher_folder, student=str(folder), losses={"sound": outputs}, gradient_checkpointing=True)
    trainer(tmp_path, max_steps=2).fit(module, data())
    out = outputs.seen[-1]
    assert torch.equal(out.target_mel, teacher.codec.latent_to_mel(out.target_latent))
    assert torch.equal(out.student_mel, module.decoders.student_codec(averaged=False).latent_to_mel(out.student_latent))
    module.pipeline().save_pretrained(tmp_path / "later")
    later = TextToAudioPipeline.from_pretrained(tmp_path / "later")
    assert torch.equal(later.codec.latent_to_mel(latent), expected)
    assert equal(weights(later.vae.encoder), weights(teacher.vae.encoder))
    assert not any("decoder" in name for name in module.state_dict())


@pytest.mark.parametrize("train_decoder", [False, True])
def test_the_decoder_of_another_autoencoder_is_not_taken_over(
    train_decoder: bool, teacher_folder: Path, tmp_path: Path
) -> None:
    """The student will make the latents of this teacher's autoencoder."""
    torch.manual_seed(5)
    TextToAudioPipeline(**toy_parts()).save_pretrained(tmp_path)
    module = with_decoder(teacher_folder, student=str(tmp_path), train_decoder=train_decoder)
    expected = TextToAudioPipeline.from_pretrained(teacher_folder).vae
    assert equal(weights(module.pipeline().vae), weights(expected))


@pytest.mark.parametrize("make", [guidance, distillation, with_decoder])
def test_checkpointed_decoders_give_the_same_step(
    make: Callable[..., Any], teacher_folder: Path, tmp_path: Path
) -> None:
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        losses = {"sound": AudioEmbedding()}
        module = in_training(make(teacher_folder, losses=losses, gradient_checkpointing=checkpointed), tmp_path)
        module.setup("fit")
        decodes = []
        codec = module.decoders.student_codec(averaged=False) or module.frozen.codec
        codec.vae.decoder.up_blocks[0].register_forward_pre_hook(
            lambda *_, decodes=decodes: decodes.append(torch.is_grad_enabled())
        )
        module.loss(batch(2), rng()).backward()
        gradients.append(
            [parameter.grad for parameter in module.trainable().parameters() if parameter.grad is not None]
        )
        # The student's latent, and once more on the way back.
        assert decodes.count(True) == 1 + checkpointed
    assert len(gradients[0]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("make", [guidance, with_decoder])
def test_checkpointed_decoders_reach_processes_that_are_spawned(make: Callable[..., Any], teacher_folder: Path) -> None:
    """The strategy ddp_spawn pickles what it trains."""
    assert ForkingPickler.dumps(make(teacher_folder, gradient_checkpointing=True))


@pytest.mark.parametrize("make", [guidance, distillation, with_decoder])
def test_losses_of_sound_read_a_crop_and_losses_of_latents_see_all(
    make: Callable[..., Any], teacher_folder: Path, tmp_path: Path
) -> None:
    outputs = AudioEmbedding()
    module = in_training(make(teacher_folder, losses={"sound": outputs}, crop_frames=8), tmp_path)
    clips = batch(4)
    starts = set()
    for draw in range(8):
        module.loss(clips, rng(draw))
        out = outputs.seen[-1]
        assert out.student_latent.shape == (4, 4, 8, 4)  # whole
        assert out.student_mel.shape == out.target_mel.shape == (4, 8, 16)
        assert out.student_waveform.shape == out.target_waveform.shape == out.reference_waveform.shape == (4, 8 * 160)
        crop = out.crop.__self__  # one for both decoders
        starts |= set(crop.starts)
        for row, start in enumerate(crop.starts):
            # The recording's crop lies where the latent's does: 4 mel frames to a latent frame.
            place = slice(start * 4 * 160, (start + 2) * 4 * 160)
            assert torch.equal(out.reference_waveform[row], clips.waveform[row, place])
            expected = module.frozen.codec.latent_to_mel(out.target_latent[row : row + 1, :, start : start + 2])
            torch.testing.assert_close(out.target_mel[row : row + 1], expected)
    assert starts == set(range(7))  # all places there are
    module.trainer.training = False
    module.loss(clips, rng())
    assert outputs.seen[-1].student_mel.shape == (4, 32, 16)
    assert torch.equal(outputs.seen[-1].reference_waveform, clips.waveform)


@pytest.mark.parametrize("make", [guidance, distillation])
def test_crops_do_not_change_the_other_draws(make: Callable[..., Any], teacher_folder: Path, tmp_path: Path) -> None:
    seen = []
    for frames in (0, 8):
        outputs = AudioEmbedding()
        in_training(make(teacher_folder, losses={"sound": outputs}, crop_frames=frames), tmp_path).loss(batch(2), rng())
        seen.append(outputs.seen[0])
    assert torch.equal(seen[0].target_latent, seen[1].target_latent)


@pytest.mark.parametrize("make", [guidance, distillation])
@pytest.mark.parametrize("frames", [6, -4, 36])
def test_crops_that_do_not_fit_are_refused(make: Callable[..., Any], frames: int, teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(frames)):
        make(teacher_folder, crop_frames=frames)

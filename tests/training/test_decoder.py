"""A decoder trained along with the student, and losses of sound that hear a crop."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from consistency_tta.components.codec import AudioCodec
from consistency_tta.contracts import DistillationOutput, Loss
from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.decoder import Crop, TrainedDecoder
from tests.toys import toy_parts
from tests.training.runs import (
    Losses,
    batch,
    data,
    distillation,
    equal,
    in_training,
    randomness,
    snapshot,
    trainer,
)


class Heard(Loss):
    """Keeps what losses of sound are given; touches everything that can be decoded."""

    noise_weighted = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[DistillationOutput] = []

    def forward(self, out: DistillationOutput) -> Tensor:
        self.seen.append(out)
        difference = out.student_waveform - out.target_waveform
        return difference.square().mean(1) + 0 * out.reference_waveform.mean(1)


def with_decoder(folder: Path, **kwargs: Any) -> Any:
    losses = {"latent": LatentL2Loss(), "mel": MelL2Loss()}
    return distillation(folder, **({"losses": losses, "train_decoder": True} | kwargs))


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def test_only_the_decoder_is_trained_and_only_its_copy(teacher_folder: Path, tmp_path: Path) -> None:
    module = with_decoder(teacher_folder)
    before, frozen = weights(module.decoder.parts), weights(module.frozen.codec)
    trainer(tmp_path, max_steps=3).fit(module, data())
    assert equal(weights(module.frozen.codec), frozen)
    after = weights(module.decoder.parts)
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    assert {name.split(".")[0] for name in after} == {"decoder", "post_quant_conv"}
    # Everything around it is shared, and cannot be trained.
    for codec in module.decoder.codec(averaged=False), module.decoder.codec(averaged=True):
        assert codec.vocoder is module.frozen.codec.vocoder
        assert codec.vae.encoder is module.frozen.codec.vae.encoder
        assert codec.vae.decoder is not module.frozen.codec.vae.decoder
    assert not any(parameter.requires_grad for parameter in module.frozen.codec.parameters())


def test_targets_are_decoded_by_the_frozen_decoder(teacher_folder: Path, tmp_path: Path) -> None:
    heard = Heard()
    module = in_training(with_decoder(teacher_folder, losses={"sound": heard}), tmp_path)
    with torch.no_grad():
        for parameter in module.decoder.parts.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    for training in (False, True):
        module.trainer.training = training
        with torch.set_grad_enabled(training):
            module.loss(batch(2), randomness())
    for out, codec in zip(heard.seen, (module.decoder.codec(True), module.decoder.codec(False)), strict=True):
        torch.testing.assert_close(out.student_mel, codec.latent_to_mel(out.student_latent))
        torch.testing.assert_close(out.target_mel, module.frozen.codec.latent_to_mel(out.target_latent))
    # In training the decoder has moved; its average has not.
    moved = module.decoder.codec(False).latent_to_mel(out.target_latent)
    assert not torch.allclose(moved, out.target_mel, atol=1e-3)
    averaged = module.decoder.codec(True).latent_to_mel(out.target_latent)
    torch.testing.assert_close(averaged, out.target_mel)


def test_the_averaged_decoder_is_exported(teacher_folder: Path, tmp_path: Path) -> None:
    module = with_decoder(teacher_folder, average_decay=0.5)
    trainer(tmp_path, max_steps=4).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "student")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "student")
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    latent = torch.randn(2, 4, 8, 4)
    expected = module.decoder.codec(averaged=True).latent_to_mel(latent)
    torch.testing.assert_close(loaded.codec.latent_to_mel(latent), expected)
    for other in module.decoder.codec(averaged=False), teacher.codec:
        assert not torch.allclose(other.latent_to_mel(latent), expected, atol=1e-6)
    assert equal(weights(loaded.vae.encoder), weights(teacher.vae.encoder))
    # A later stage starts from there, and still aims at the teacher's sounds.
    later = with_decoder(teacher_folder, student=str(tmp_path / "student"))
    torch.testing.assert_close(later.decoder.codec(averaged=False).latent_to_mel(latent), expected)
    torch.testing.assert_close(later.frozen.codec.latent_to_mel(latent), teacher.codec.latent_to_mel(latent))


def tuned_student(teacher_folder: Path, folder: Path) -> Path:
    """A student's folder whose decoder is not the teacher's any more."""
    module = with_decoder(teacher_folder, average_decay=0.0)
    with torch.no_grad():
        for parameter in module.decoder.average.module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    module.pipeline().save_pretrained(folder)
    return folder


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
    heard = Heard()
    module = distillation(teacher_folder, student=str(folder), losses={"sound": heard}, checkpoint_decoders=True)
    trainer(tmp_path, max_steps=2).fit(module, data())
    out = heard.seen[-1]
    assert torch.equal(out.target_mel, teacher.codec.latent_to_mel(out.target_latent))
    assert torch.equal(out.student_mel, module.own_codec(averaged=False).latent_to_mel(out.student_latent))
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
    assert {name.split(".")[0] for name in names} == {"student", "target", "average", "decoder"}
    assert not any("encoder" in name for name in names)


def test_a_decoder_without_a_loss_of_sound_is_refused(teacher_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"train_decoder needs a loss of sound.*\['latent'\]"):
        with_decoder(teacher_folder, losses={"latent": LatentL2Loss()})


@pytest.mark.parametrize("train_decoder", [False, True])
def test_checkpointed_decoders_give_the_same_step(train_decoder: bool, teacher_folder: Path, tmp_path: Path) -> None:
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        losses = {"sound": Heard()}
        module = in_training(
            with_decoder(teacher_folder, losses=losses, train_decoder=train_decoder, checkpoint_decoders=checkpointed),
            tmp_path,
        )
        module.setup("fit")
        decodes = []
        codec = module.decoder.codec(averaged=False) if train_decoder else module.frozen.codec
        codec.vae.decoder.up_blocks[0].register_forward_pre_hook(
            lambda *_, decodes=decodes: decodes.append(torch.is_grad_enabled())
        )
        module.loss(batch(2), randomness()).backward()
        gradients.append([parameter.grad for parameter in module.trained().parameters() if parameter.grad is not None])
        # The student's latent, and once more on the way back.
        assert decodes.count(True) == 1 + checkpointed
    assert len(gradients[0]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_checkpointed_decoders_reach_processes_that_are_spawned(teacher_folder: Path) -> None:
    """The strategy ddp_spawn pickles what it trains."""
    assert ForkingPickler.dumps(with_decoder(teacher_folder, checkpoint_decoders=True))


def test_losses_of_sound_hear_a_crop_and_losses_of_latents_see_all(teacher_folder: Path, tmp_path: Path) -> None:
    heard = Heard()
    module = in_training(with_decoder(teacher_folder, losses={"sound": heard}, crop_frames=8), tmp_path)
    clips = batch(4)
    starts = set()
    for draw in range(8):
        module.loss(clips, randomness(draw))
        out = heard.seen[-1]
        assert out.student_latent.shape == (4, 4, 8, 4)  # whole
        assert out.student_mel.shape == out.target_mel.shape == (4, 8, 16)
        assert out.student_waveform.shape == out.target_waveform.shape == out.reference_waveform.shape == (4, 8 * 160)
        crop = out.decoder.crop
        assert crop is out.student_decoder.crop  # the same for both
        starts |= set(crop.starts)
        for row, start in enumerate(crop.starts):
            # The recording's crop lies where the latent's does: 4 mel frames to a latent frame.
            place = slice(start * 4 * 160, (start + 2) * 4 * 160)
            assert torch.equal(out.reference_waveform[row], clips.waveform[row, place])
            expected = module.frozen.codec.latent_to_mel(out.target_latent[row : row + 1, :, start : start + 2])
            torch.testing.assert_close(out.target_mel[row : row + 1], expected)
    assert starts == set(range(7))  # all places there are
    module.trainer.training = False
    module.loss(clips, randomness())
    assert heard.seen[-1].student_mel.shape == (4, 32, 16)
    assert torch.equal(heard.seen[-1].reference_waveform, clips.waveform)


def test_crops_do_not_change_the_other_draws(teacher_folder: Path, tmp_path: Path) -> None:
    seen = []
    for frames in (0, 8):
        heard = Heard()
        in_training(distillation(teacher_folder, losses={"sound": heard}, crop_frames=frames), tmp_path).loss(
            batch(2), randomness()
        )
        seen.append(heard.seen[0])
    assert torch.equal(seen[0].target_latent, seen[1].target_latent)


@pytest.mark.parametrize("frames", [6, -4, 36])
def test_crops_that_do_not_fit_are_refused(frames: int, teacher_folder: Path) -> None:
    with pytest.raises(ValueError, match=f"multiple of 4.* at most 32.*got {frames}"):
        distillation(teacher_folder, crop_frames=frames)


def test_a_crop_of_numbered_frames() -> None:
    crop = Crop([1, 0], frames=2, samples_per_frame=3)
    latent = torch.arange(4.0).view(1, 1, 4, 1).expand(2, 5, 4, 6)
    assert crop.latent(latent)[:, 0, :, 0].tolist() == [[1, 2], [0, 1]]
    assert crop.waveform(torch.arange(12).expand(2, 12)).tolist() == [[3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5]]


def test_an_autoencoder_without_the_optional_convolution() -> None:
    codec = AudioCodec(toy_parts()["mel"], toy_parts()["vae"])
    codec.vae.post_quant_conv = None
    decoder = TrainedDecoder(codec, codec.vae, 0.9)
    assert set(decoder.parts) == {"decoder"}
    assert decoder.codec(averaged=False).latent_to_mel(torch.randn(1, 4, 8, 4)).shape == (1, 32, 16)

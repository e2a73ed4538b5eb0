"""Training a vocoder: crops that match, mels that went through the autoencoder, and what losses see."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import AudioOutput, Loss
from consistency_tta.losses import MelL1Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from tests.toys import NUM_SAMPLES
from tests.training.runs import (
    Losses,
    adversarial_vocoder,
    batch,
    data,
    guidance,
    in_training,
    one_query,
    rng,
    trainer,
    vocoder,
)


class Shapes(Loss):
    """Notes what a loss is given."""

    noise_weighted = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[AudioOutput] = []

    def forward(self, out: AudioOutput) -> Tensor:
        self.seen.append(out)
        return (out.student_waveform - out.reference_waveform).square().mean(1)


def test_crops_of_mel_and_waveform_are_the_same_span(teacher_folder: Path, tmp_path: Path) -> None:
    loss, sounds, given = Shapes(), batch(4), []
    module = in_training(vocoder(teacher_folder, losses={"sound": loss}, decoded=0.0), tmp_path)
    module.vocoder.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
    whole = module.frozen.codec.waveform_to_mel(sounds.waveform)
    starts = set()
    for batch_idx in range(6):
        module.loss(sounds, rng(batch_idx))
        outputs = loss.seen[-1].reference_waveform
        assert outputs.shape == (4, 16 * 160)
        for row, mel in enumerate(given[-1]):
            [start] = [start for start in range(17) if torch.equal(mel, whole[row, start : start + 16])]
            assert torch.equal(outputs[row], sounds.waveform[row, start * 160 : (start + 16) * 160])
            starts.add(start)
    assert len(starts) > 4


def test_a_share_of_mels_goes_through_the_autoencoder(teacher_folder: Path, tmp_path: Path) -> None:
    sounds = batch(8)
    for decoded, stage in ((0.0, "training"), (0.3, "training"), (1.0, "training"), (0.3, "validating")):
        module = vocoder(teacher_folder, decoded=decoded)
        module.trainer = trainer(tmp_path)
        setattr(module.trainer, stage, True)
        plain = module.frozen.codec.waveform_to_mel(sounds.waveform)
        changed = [(module.decode_some(plain, rng(k)) != plain).flatten(1).any(1) for k in range(25)]
        share = torch.stack(changed).float().mean().item()
        assert share == pytest.approx(decoded if stage == "training" else 1.0, abs=0.1)


def test_latents_are_drawn_from_the_posterior_in_training_alone(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(vocoder(teacher_folder, decoded=1.0), tmp_path)
    codec = module.frozen.codec
    mel = codec.waveform_to_mel(batch(2).waveform)
    mean = codec.latent_to_mel(codec.moments_to_latent(codec.mel_to_moments(mel)))
    assert not torch.equal(module.decode_some(mel, rng(0)), mean)
    assert not torch.equal(module.decode_some(mel, rng(0)), module.decode_some(mel, rng(1)))
    module.trainer.training = False
    torch.testing.assert_close(module.decode_some(mel, rng(0)), mean)


def test_losses_see_the_crop_and_its_recording(teacher_folder: Path, tmp_path: Path) -> None:
    loss = Shapes()
    module = vocoder(teacher_folder, losses={"shapes": loss})
    trainer(tmp_path, max_steps=1, limit_val_batches=1).fit(module, data())
    cropped = loss.seen[0]
    assert cropped.student_waveform.shape == cropped.target_waveform.shape == (4, 16 * 160)
    assert torch.equal(cropped.reference_waveform, cropped.target_waveform)
    assert cropped.student_mel.shape == cropped.target_mel.shape == (4, 16, 16)
    assert cropped.sample_rate == 16000
    trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)
    assert loss.seen[-1].student_waveform.shape == (4, NUM_SAMPLES)  # whole clips


def test_what_it_logs_is_what_it_minimises(teacher_folder: Path, tmp_path: Path) -> None:
    losses, logged = {"mel": MelL1Loss(), "sound": Shapes()}, []
    module = in_training(vocoder(teacher_folder, losses=losses, loss_weights={"sound": 3.0}), tmp_path)
    module.log_losses = lambda losses, batch_size: logged.append((losses, batch_size))
    loss = module.loss(batch(3), rng())
    [(values, rows)] = logged
    assert rows == 3
    assert values["loss"] is loss
    torch.testing.assert_close(loss, values["loss/mel"] + 3 * values["loss/sound"])


def test_an_adversary_takes_part_in_training_alone(teacher_folder: Path, tmp_path: Path) -> None:
    module, logged = in_training(adversarial_vocoder(teacher_folder), tmp_path), []
    module.log_losses = lambda losses, batch_size: logged.append(losses)
    for module.trainer.training in (True, False):
        module.loss(batch(2), rng())
    assert ["loss/adversary" in values for values in logged] == [True, False]
    torch.testing.assert_close(logged[1]["loss"], logged[1]["loss/mel"])


def test_losses_compare_sounds_in_float32(teacher_folder: Path, tmp_path: Path) -> None:
    class Linear(torch.nn.Linear):
        def forward(self, mel: Tensor) -> Tensor:
            return super().forward(mel).flatten(1)

    loss = Shapes()
    module = in_training(vocoder(teacher_folder, vocoder=Linear(16, 160), losses={"sound": loss}), tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        module.loss(batch(2), rng())
    assert loss.seen[0].student_waveform.dtype == loss.seen[0].target_waveform.dtype == torch.float32


def test_a_vocoder_of_another_hop_length_is_named(teacher_folder: Path, tmp_path: Path) -> None:
    class Half(torch.nn.Module):
        def forward(self, mel: Tensor) -> Tensor:
            return mel.flatten(1).repeat(1, 5)  # 16 bins a frame

    module = in_training(vocoder(teacher_folder, vocoder=Half()), tmp_path)
    with pytest.raises(ConfigurationError, match=str(16 * 80)):
        module.loss(batch(2), rng())


def test_it_learns(teacher_folder: Path, tmp_path: Path) -> None:
    losses = Losses()
    trainer(tmp_path, max_steps=80, callbacks=[losses]).fit(vocoder(teacher_folder, decoded=0.0), data())
    assert sum(losses.values[-10:]) < 0.9 * sum(losses.values[:10])


def test_the_folder_keeps_its_other_parts(teacher_folder: Path, tmp_path: Path) -> None:
    module = vocoder(teacher_folder, ema_decay=0.0)
    trainer(tmp_path, max_steps=2).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "model")
    before, after = map(TextToAudioPipeline.from_pretrained, (teacher_folder, tmp_path / "model"))
    noise = torch.randn(1, 4, 8, 4)
    made = [pipeline("a tone", num_inference_steps=1, latents=noise) for pipeline in (before, after)]
    assert torch.equal(made[0].latent, made[1].latent)
    assert not torch.equal(made[0].waveform, made[1].waveform)
    for parameter, trained in zip(after.vocoder.parameters(), module.vocoder.parameters(), strict=True):
        assert torch.equal(parameter, trained)


def test_the_folder_keeps_what_is_said_of_its_u_net(teacher_folder: Path, tmp_path: Path) -> None:
    one_query(guidance(teacher_folder, guidance_scale=(1.0, 4.0))).save_pretrained(tmp_path)
    kept = vocoder(tmp_path).pipeline()
    assert kept.sampler.one_query
    assert kept.config["guidance_range"] == [1.0, 4.0]


def test_wrong_settings_are_named(teacher_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="crop_frames"):
        vocoder(teacher_folder, crop_frames=10)
    with pytest.raises(ConfigurationError, match=r"1\.5"):
        vocoder(teacher_folder, decoded=1.5)

"""Training a teacher: the loss, dropped captions, and what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel

from consistency_tta.components.text import ByteTextEncoder
from consistency_tta.contracts import Batch, Conditioning
from consistency_tta.datamodules.synthetic import KINDS
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler
from consistency_tta.diffusion.weighting import MinSNR, Uniform
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from tests.toys import NUM_SAMPLES, TEXT, UNET, toy_parts
from tests.training.runs import Losses, batch, data, diffusion, in_training, rng, trainer


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
def test_the_default_is_the_plain_error_of_v(prediction_type: str, teacher_folder: Path, tmp_path: Path) -> None:
    scheduler = DDIMScheduler.from_config(stable_diffusion_scheduler().config, prediction_type=prediction_type)
    module = in_training(diffusion(teacher_folder, scheduler=scheduler, caption_dropout=0.0), tmp_path)
    sounds = batch(4)
    loss = module.loss(sounds, rng())

    again = rng()  # the same draws, in the same order
    z_0 = module.latents(sounds, again)
    text = module.embed(sounds, again)
    k = again.integers(1000, 4)  # timesteps of diffusers
    epsilon = again.normal_like(z_0)
    cumulative = stable_diffusion_scheduler().alphas_cumprod[k].reshape(-1, 1, 1, 1)
    alpha, sigma = cumulative.sqrt(), (1 - cumulative).sqrt()
    denoiser = module.networks["denoiser"]
    output = denoiser.predict(alpha * z_0 + sigma * epsilon, k + 1.0, Conditioning(text))
    if prediction_type == "epsilon":
        # z_0 = (z_t - sigma epsilon) / alpha, so that an error e of epsilon is an error e / alpha of v.
        expected = ((output - epsilon) / alpha).square().mean()
    else:
        expected = (output - (alpha * epsilon - sigma * z_0)).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-5)


def test_the_default_on_a_rectified_flow_is_the_plain_error_of_the_velocity(
    teacher_folder: Path, tmp_path: Path
) -> None:
    scheduler, sounds = FlowMatchEulerDiscreteScheduler(), batch(4)
    module = in_training(diffusion(teacher_folder, scheduler=scheduler, caption_dropout=0.0), tmp_path)
    loss = module.loss(sounds, rng())

    again = rng()  # the same draws, in the same order
    z_0 = module.latents(sounds, again)
    text = module.embed(sounds, again)
    t = 1.0 + again.integers(1000, 4)
    epsilon = again.normal_like(z_0)
    share = (t / 1000).reshape(-1, 1, 1, 1)
    velocity = module.networks["denoiser"].predict((1 - share) * z_0 + share * epsilon, t, Conditioning(text))
    torch.testing.assert_close(loss, (velocity - (epsilon - z_0)).square().mean(), rtol=1e-3, atol=1e-5)


def test_weightings_are_used(teacher_folder: Path, tmp_path: Path) -> None:
    values = {
        weighting: float(in_training(diffusion(teacher_folder, weighting=weighting), tmp_path).loss(batch(4), rng()))
        for weighting in (None, Uniform(), MinSNR(1e-6))
    }
    assert len(set(values.values())) == 3
    assert min(values.values()) < 1e-4


def test_captions_are_dropped_at_their_share_in_training_only(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(diffusion(teacher_folder, caption_dropout=0.25), tmp_path)
    captions = Batch(["a caption"] * 50, [""] * 50)

    def dropped() -> float:
        masks = [module.embed(captions, rng(k)).mask for k in range(20)]
        return sum(float((mask.sum(1) == 1).sum()) for mask in masks) / 1000  # only the end is left

    assert dropped() == pytest.approx(0.25, abs=0.05)
    text = module.frozen.text
    with torch.no_grad():
        encoded = Batch(captions.captions, captions.ids, text=text(captions.captions))
        one, other = module.embed(captions, rng(3)), module.embed(encoded, rng(3))
    assert torch.equal(one.mask, other.mask)
    read = one.mask[..., None]
    torch.testing.assert_close(one.embedding * read, other.embedding * read)
    module.trainer.training = False
    assert dropped() == 0


@pytest.mark.parametrize("training", [True, False])
def test_the_network_or_outside_training_its_average_reads_how_long_sounds_are(
    training: bool, teacher_folder: Path, tmp_path: Path
) -> None:
    module, logged, seen = in_training(diffusion(teacher_folder), tmp_path), {}, {}
    module.trainer.training = training
    module.log_losses = lambda losses, batch_size: logged.update(losses, rows=batch_size)
    for name, networks in (("network", module.networks), ("average", module.average.module)):
        networks["denoiser"].register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args}))
    loss = module.loss(batch(3), rng())
    assert logged == {"loss": loss, "rows": 3}
    [(used, (_, t, conditioning))] = seen.items()
    assert used == ("network" if training else "average")
    assert conditioning.scalars["seconds_total"].tolist() == pytest.approx([NUM_SAMPLES / 16000] * 3)
    binned = module.binned.values
    assert len(binned) == (0 if training else 1)
    for errors in binned:
        torch.testing.assert_close((errors[:, 0] * module.weighting(t, module.schedule)).mean(), loss)


def test_a_folders_schedule_is_of_its_own_network(tmp_path: Path) -> None:
    """And not of a new one, nor where another is given."""
    parts, other = toy_parts(), FlowMatchEulerDiscreteScheduler()
    epsilon = DDIMScheduler.from_config(parts["scheduler"].config, prediction_type="epsilon")
    TextToAudioPipeline(**(parts | {"scheduler": epsilon})).save_pretrained(tmp_path)
    new: dict[str, Any] = {"network": UNet2DConditionModel(**UNET)}
    for settings, expected in (({}, "epsilon"), (new, "v_prediction"), (new | {"scheduler": epsilon}, "epsilon")):
        assert diffusion(tmp_path, **settings).pipeline().scheduler.config.prediction_type == expected
    assert diffusion(tmp_path, scheduler=other).pipeline().scheduler is other


def test_it_learns(teacher_folder: Path, tmp_path: Path) -> None:
    losses = Losses()
    trainer(tmp_path, max_steps=60, callbacks=[losses]).fit(diffusion(teacher_folder, seed=0), data(batch_size=8))
    assert sum(losses.values[-15:]) < 0.85 * sum(losses.values[:15])


@pytest.mark.parametrize("train_text_encoder", [False, True])
def test_the_text_encoder_is_trained_or_frozen(train_text_encoder: bool, teacher_folder: Path, tmp_path: Path) -> None:
    module = diffusion(teacher_folder, train_text_encoder=train_text_encoder, ema_decay=0.0)
    before = TextToAudioPipeline.from_pretrained(teacher_folder)
    trainer(tmp_path, max_steps=2).fit(module, data())
    after = module.pipeline()
    changed = {
        name: any(
            not torch.equal(value, other)
            for value, other in zip(getattr(before, name).parameters(), getattr(after, name).parameters(), strict=True)
        )
        for name in ("text_encoder", "unet", "vae", "vocoder")
    }
    assert changed == {"text_encoder": train_text_encoder, "unet": True, "vae": False, "vocoder": False}
    assert any("text" in key for key in module.state_dict()) == train_text_encoder


def test_new_networks_make_a_teacher_of_an_autoencoder(tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(**{name: parts[name] for name in ("mel", "vae", "vocoder")}).save_pretrained(
        tmp_path / "vocoder"
    )
    settings: dict[str, Any] = {"text_encoder": ByteTextEncoder(**TEXT), "train_text_encoder": True}
    module = diffusion(tmp_path / "vocoder", network=UNet2DConditionModel(**UNET), **settings)
    trainer(tmp_path, max_steps=2).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "teacher")
    teacher = TextToAudioPipeline.from_pretrained(tmp_path / "teacher")
    noise = torch.randn(1, 4, 8, 4)
    made = teacher(KINDS[0][0], num_inference_steps=2, latents=noise)
    expected = module.pipeline()(KINDS[0][0], num_inference_steps=2, latents=noise)
    torch.testing.assert_close(made.waveform, expected.waveform)
    assert teacher.scheduler.config.prediction_type == "v_prediction"


def test_wrong_settings_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    for dropout in (1.0, -0.1):
        with pytest.raises(ConfigurationError, match=f"caption_dropout.*{dropout}"):
            diffusion(teacher_folder, caption_dropout=dropout)
    with pytest.raises(ConfigurationError, match="train_text_encoder"):
        diffusion(teacher_folder, text_encoder=ByteTextEncoder(**TEXT))
    parts = toy_parts()
    TextToAudioPipeline(mel=parts["mel"], vae=parts["vae"]).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="text_encoder"):
        diffusion(tmp_path)
    with pytest.raises(ModelFolderError, match="unet"):
        diffusion(tmp_path, text_encoder=ByteTextEncoder(**TEXT))

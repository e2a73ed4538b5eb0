"""Training an autoencoder: reconstruction, KL, and latents of unit variance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import Optimization
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.runtime.errors import DivergenceError, ShapeError
from consistency_tta.training.step_rng import StepRNG
from tests.toys import NUM_SAMPLES
from tests.training.runs import Losses, autoencoder, batch, data, in_training, rng, trainer


def test_the_loss_is_l1_and_kl_per_latent_number(tmp_path: Path) -> None:
    module = autoencoder(tmp_path, kl_weight=0.5)
    # Before any step the average, which validation uses, is the autoencoder itself.
    run = trainer(tmp_path, limit_val_batches=1)
    sounds = SyntheticDataModule(num_clips=4, num_val_clips=4, num_samples=NUM_SAMPLES, batch_size=4)
    run.validate(module, sounds, verbose=False)
    logged = run.callback_metrics
    waveform = torch.stack([sounds.val_dataset[index][0] for index in range(4)])
    posterior = module.vae.encode(module.mel(waveform)[:, None]).latent_dist
    kl = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(logged["val/kl"], kl, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(logged["val/loss"], logged["val/l1"] + 0.5 * logged["val/kl"])


@pytest.mark.parametrize("rows", [1, 3])
def test_a_step_is_of_a_draw_from_the_posterior(rows: int, tmp_path: Path) -> None:
    module, logged = in_training(autoencoder(tmp_path, kl_weight=0.5), tmp_path), {}
    module.log_losses = lambda losses, batch_size: logged.update(losses)
    loss = module.loss(batch(rows), rng())
    mel = module.mel(batch(rows).waveform)[:, None]
    posterior = module.vae.encode(mel).latent_dist
    latent = posterior.mean + posterior.std * rng().normal_like(posterior.mean)
    kl = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).mean()
    l1 = (module.vae.decode(latent).sample - mel).abs().mean()
    torch.testing.assert_close(logged["l1"], l1)
    torch.testing.assert_close(loss, l1 + 0.5 * kl)
    # The first of the steps that the running mean of the latents' squares is of.
    torch.testing.assert_close(module.second_moment, 0.99 + 0.01 * latent.detach().square().mean())
    assert not module.second_moment.requires_grad


def test_the_folder_says_what_trainings_on_it_need(tmp_path: Path) -> None:
    module = autoencoder(tmp_path, audio_length_in_s=0.25)
    module.second_moment.fill_(4.0)
    made = module.pipeline()
    assert made.vae.config.scaling_factor == 0.5
    assert made.config["audio_length_in_s"] == 0.25
    assert made.rewards == RewardLineage(complete=True)


def test_it_learns(tmp_path: Path) -> None:
    losses = Losses()
    module = autoencoder(tmp_path, optimization=Optimization(learning_rate=1e-2))
    trainer(tmp_path, max_steps=80, callbacks=[losses]).fit(module, data())
    assert sum(losses.values[-10:]) < 0.7 * sum(losses.values[:10])


def test_the_exported_scale_makes_latents_of_unit_variance(tmp_path: Path) -> None:
    module = autoencoder(tmp_path)
    with torch.no_grad():  # latents far from the unit normal
        module.vae.quant_conv.bias[:4] = 3.0
        module.average.module.quant_conv.bias[:4] = 3.0
    # Training steps without their updates, so that the latents stay as they are while their second moment is found.
    module.trainer = trainer(tmp_path)
    module.trainer.training = True
    module.log_losses = lambda losses, batch_size: None  # type: ignore[method-assign]
    for step in range(400):
        with torch.no_grad():
            module.loss(batch(4), StepRNG(0, 0, step, module.device))
    codec = module.pipeline().codec
    moments = codec.mel_to_moments(codec.waveform_to_mel(batch(4).waveform))
    latents = codec.moments_to_latent(moments, torch.randn(4, 4, 8, 4))
    assert latents.square().mean() == pytest.approx(1, abs=0.05)
    assert codec.vae.config.scaling_factor < 0.5


def test_a_clip_that_is_not_finite_does_not_spoil_the_scale(tmp_path: Path) -> None:
    class Broken(SyntheticDataModule):
        def collate(self, examples: list) -> object:
            made = super().collate(examples)
            made.waveform[0, 100] = torch.nan
            return made

    module = autoencoder(tmp_path)
    sounds = Broken(num_clips=8, num_val_clips=4, num_samples=NUM_SAMPLES, batch_size=4)
    run = trainer(tmp_path, max_steps=2)
    with pytest.raises(DivergenceError):
        run.fit(module, sounds)
    assert run.callback_metrics["train/skipped_steps"] == 2
    assert module.second_moment == 1
    run = trainer(tmp_path, max_steps=2)
    run.fit(module, data())
    assert module.second_moment.isfinite()
    assert module.second_moment != 1


def test_a_length_that_does_not_divide_is_named(tmp_path: Path) -> None:
    sounds = SyntheticDataModule(num_clips=4, num_val_clips=4, num_samples=30 * 160, batch_size=4)
    with pytest.raises(ShapeError, match="num_samples"):
        trainer(tmp_path, max_steps=1).fit(autoencoder(tmp_path), sounds)

"""Training an autoencoder of mel spectrograms from nothing."""

from __future__ import annotations

from typing import cast

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import Batch, Optimization
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.latents import waveform_of
from consistency_tta.training.step_rng import StepRNG


class AutoencoderTraining(TrainingModule):
    """Reconstruction of mel spectrograms (L1) with a slight pull of the posterior towards the unit normal.

    Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
    https://arxiv.org/abs/2112.10752, section 3.1, without the adversarial term.

    Args:
        vae: the autoencoder, of pictures with one channel, or of folded ones.
        mel: front end.
        kl_weight: weight of the KL divergence per latent number, against the mean absolute error per mel value.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
        audio_length_in_s: length of the recordings, where clips are padded to a size that the networks can take. The
            models made from this one cut their sounds there.
    """

    second_moment: Tensor

    def __init__(
        self,
        vae: AutoencoderKL,
        mel: MelSpectrogram | None = None,
        kl_weight: float = 1e-3,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
        audio_length_in_s: float | None = None,
    ) -> None:
        super().__init__(optimization, seed)
        self.mel = mel or MelSpectrogram()
        self.vae = vae.train()
        self.average = ExponentialMovingAverage(self.vae, ema_decay, warm_up=True)
        self.kl_weight = kl_weight
        self.audio_length_in_s = audio_length_in_s
        # E[z^2] of the unscaled latents; its square root's inverse becomes the model's scaling_factor.
        self.register_buffer("second_moment", torch.ones(()))

    @property
    def sample_rate(self) -> int:
        """Of all sounds, in Hz."""
        return self.mel.config["sample_rate"]

    def trainable(self) -> nn.Module:
        """The autoencoder."""
        return self.vae

    def emas(self) -> tuple[ExponentialMovingAverage]:
        """The evaluation average."""
        return (self.average,)

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """L1 of the mel + KL."""
        vae = self.vae if self.trainer.training else cast(AutoencoderKL, self.average.module)
        codec = MelCodec(self.mel, vae)
        mel = codec.waveform_to_mel(waveform_of(batch))
        # The codec's moments are float32 in every precision, as the differences in the KL divergence need them.
        posterior = DiagonalGaussianDistribution(codec.mel_to_moments(mel))
        latent = posterior.mean + posterior.std * rng.normal_like(posterior.mean)
        reconstruction = codec.unscaled_to_mel(latent)
        if self.trainer.training:
            moment = latent.detach().square().mean()
            # One clip that is not finite must not spoil the scale for good.
            self.second_moment.lerp_(torch.where(moment.isfinite(), moment, self.second_moment), 0.01)
        l1 = (reconstruction - mel).abs().mean()
        kl = posterior.kl().mean() / latent[0].numel()
        loss = l1 + self.kl_weight * kl
        self.log_losses({"loss": loss, "l1": l1, "kl": kl}, len(batch))
        return loss

    def previews(self, batch: Batch) -> list[Preview]:
        """Reconstructed mel spectrograms."""
        codec = self.pipeline().mel_codec
        mels = codec.latent_to_mel(codec.moments_to_latent(codec.mel_to_moments(self.mel(waveform_of(batch)))))
        return [Preview(name, mel) for name, mel in zip(batch.ids, mels, strict=True)]

    def pipeline(self) -> TextToAudioPipeline:
        """Front end and averaged autoencoder, scaled to latents of unit variance."""
        averaged = cast(AutoencoderKL, self.average.module)
        averaged.register_to_config(scaling_factor=float(self.second_moment.rsqrt()))
        return TextToAudioPipeline(
            mel=self.mel,
            vae=averaged,
            rewards=RewardLineage(complete=True).to_dict(),
            audio_length_in_s=self.audio_length_in_s,
        )

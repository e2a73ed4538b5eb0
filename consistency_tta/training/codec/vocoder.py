"""Training a vocoder from nothing, for the mel spectrograms of a model folder."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from consistency_tta.contracts import Batch, Loss, Optimization
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.codec.synthesis import SynthesisTraining
from consistency_tta.training.crop import random_starts, spans
from consistency_tta.training.latents import waveform_of
from consistency_tta.training.step_rng import StepRNG


class VocoderTraining(SynthesisTraining):
    """Mel to waveform by loss plugins on sound, such as mel L1 and multi-resolution STFT.

    Args:
        model: folder with mel front end and autoencoder.
        vocoder: network from mel (B, frames, bins) to waveform (B, samples), such as ``transformers.SpeechT5HifiGan``.
        losses: loss plugins by name; an ``AdversarialLoss`` teaches textures that no distance to a recording can.
        loss_weights: weights of the losses by name.
        crop_frames: mel frames of a training example, cut at a random place; 0 for whole clips.
        decoded: share of training examples in [0, 1] whose mel went through the autoencoder, as it will in generation.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
    """

    def __init__(
        self,
        model: str,
        vocoder: nn.Module,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None = None,
        crop_frames: int = 128,
        decoded: float = 0.5,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        super().__init__(model, vocoder, losses, loss_weights, crop_frames, ema_decay, optimization, seed)
        if not 0 <= decoded <= 1:
            raise ConfigurationError(f"expected decoded, a share, in [0, 1], got {decoded}")
        self.decoded = decoded
        self.hop_length: int = self.parts.mel.config["hop_length"]

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """The weighted losses of the vocoder's sound."""
        waveform = waveform_of(batch)
        mel = self.frozen.codec.waveform_to_mel(waveform)
        if self.trainer.training and self.crop_frames:
            starts = random_starts(rng, len(mel), mel.shape[1], self.crop_frames)
            mel, hop = spans(mel, starts, self.crop_frames), self.hop_length
            waveform = spans(waveform, [start * hop for start in starts], self.crop_frames * hop)
        mel = self.decode_some(mel, rng)
        vocoder = self.vocoder if self.trainer.training else self.average.module
        waveform = waveform[:, : mel.shape[1] * self.hop_length]
        sound = vocoder(mel)[:, : waveform.shape[1]].float()
        if sound.shape != waveform.shape:
            raise ConfigurationError(
                f"expected {mel.shape[1]} mel frames to become {waveform.shape[1]} samples, {self.hop_length} a frame, "
                f"but the vocoder makes {sound.shape[1]}: set its hop length, or upsampling rates, to the front end's"
            )
        # The recording that losses see is the crop.
        return self.weighted_loss(sound, waveform, replace(batch, waveform=waveform))

    @torch.no_grad()
    def decode_some(self, mel: Tensor, rng: StepRNG) -> Tensor:
        """Mels (B, frames, bins), some of them through the autoencoder (all of them outside training).

        In training their latents are drawn from the posterior, as those are that a teacher learns and generates.
        """
        codec, training = self.frozen.codec, self.trainer.training
        rows = rng.uniform(len(mel)) < (self.decoded if training else 1.0)
        rows = rng.to_device(rows.nonzero()[:, 0])
        shape = codec.latent_shape(mel.shape[1] * self.hop_length)
        noise = rng.normal_like(mel.new_empty(len(mel), *shape)) if training else None
        if len(rows):
            moments = codec.mel_to_moments(mel[rows])
            latent = codec.moments_to_latent(moments, None if noise is None else noise[rows])
            mel = mel.index_copy(0, rows, codec.latent_to_mel(latent))
        return mel

    def previews(self, batch: Batch) -> list[Preview]:
        """Clips through autoencoder and vocoder."""
        sounds = self.pipeline().mel_codec.round_trip(waveform_of(batch))
        mels = self.frozen.codec.waveform_to_mel(sounds)
        return [Preview(name, *pair) for name, *pair in zip(batch.ids, mels, sounds, strict=True)]

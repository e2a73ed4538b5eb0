"""The second half of an autoencoder's training: textures, by losses that include a discriminator."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from consistency_tta.components.codec import MelCodec
from consistency_tta.contracts import AudioOutput, Batch, Learner, Loss, Optimization
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.crop import check_crop_frames, random_starts, spans
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.latents import waveform_of
from consistency_tta.training.step_rng import StepRNG
from consistency_tta.training.weighted_losses import WeightedLosses


@dataclass
class DecodedOutput(AudioOutput):
    """A decoder's mel and the recording's; attributes as in :class:`AudioOutput`.

    The target's waveform is the vocoder's, too: what it cannot do, no decoder should make up for.
    """

    student_mel: Tensor
    target_mel: Tensor
    batch: Batch
    codec: MelCodec = field(repr=False)

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Sample rate of all waveforms in Hz."""
        return self.codec.sample_rate

    @cached_property
    def student_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the decoder's mel (B, samples), with gradients."""
        return self.codec.mel_to_waveform(self.student_mel)

    @cached_property
    def target_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the recording's mel (B, samples)."""
        with torch.no_grad():
            return self.codec.mel_to_waveform(self.target_mel)


class DecoderRefinement(TrainingModule):
    """Teaches the decoder of an autoencoder textures, such as the grain of rain, which no distance to a recording can.

    The encoder stays as it is, and with it the latents: a teacher can be trained on them at the same time.

    Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
    https://arxiv.org/abs/2112.10752, section 3.1 and appendix G.

    Args:
        model: folder with mel front end and autoencoder.
        losses: plugins by name that compare mels, such as :class:`consistency_tta.losses.MelL1Loss`, or the sounds that
            the vocoder makes of them; among them an ``AdversarialLoss`` of mels.
        loss_weights: weights of the losses by name; 1 where none is given.
        vocoder: to put in the folder; the folder's own if not given.
        crop_frames: mel frames of a training example, cut at a random place; 0 for whole clips.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule, of both sides.
        seed: of all random draws; that of ``seed_everything`` if not given.
    """

    def __init__(
        self,
        model: str,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None = None,
        vocoder: nn.Module | None = None,
        crop_frames: int = 128,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        super().__init__(optimization, seed)
        parts = TextToAudioPipeline.from_pretrained(model)
        self.earlier_stages = parts.config.get("training") or ()
        self.frozen = Frozen(codec=MelCodec(parts.mel_codec.mel, parts.mel_codec.vae, vocoder or parts.vocoder))
        check_crop_frames(crop_frames, self.frozen.codec.downsampling)
        self.vae = deepcopy(parts.vae).requires_grad_(False).train()
        self.decoder = nn.ModuleList([self.vae.post_quant_conv, self.vae.decoder]).requires_grad_(True)
        self.average = ExponentialMovingAverage(self.vae, ema_decay, warm_up=True)
        self.losses = WeightedLosses(losses, loss_weights)
        self.rewards = parts.rewards | self.losses.rewards
        self.audio_length_in_s = parts.config.get("audio_length_in_s")
        self.crop_frames = crop_frames

    @property
    def sample_rate(self) -> int:
        """Of all sounds, in Hz."""
        return self.frozen.codec.sample_rate

    def trainable(self) -> nn.Module:
        """The decoder."""
        return self.decoder

    def learners(self) -> dict[str, Learner]:
        """The decoder, and losses with parameters, such as an adversary."""
        return super().learners() | self.losses.learners()

    def ema_source(self) -> nn.Module:
        """The autoencoder."""
        return self.vae

    def emas(self) -> tuple[ExponentialMovingAverage]:
        """The evaluation average."""
        return (self.average,)

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """The weighted losses of the mel, or of the sound that the vocoder makes of it."""
        training, codec = self.trainer.training, self.frozen.codec
        with torch.no_grad():
            waveform = waveform_of(batch)
            mel = codec.waveform_to_mel(waveform)
            if training and self.crop_frames:
                starts = random_starts(rng, len(mel), mel.shape[1], self.crop_frames)
                mel, hop = spans(mel, starts, self.crop_frames), codec.mel.config["hop_length"]
                waveform = spans(waveform, [start * hop for start in starts], self.crop_frames * hop)
            moments = codec.mel_to_moments(mel)
            latent = codec.moments_to_latent(moments, rng.normal_like(moments.chunk(2, dim=1)[0]))
        vae = self.vae if training else cast(AutoencoderKL, self.average.module)
        made = MelCodec(codec.mel, vae).latent_to_mel(latent)
        # The recording that losses see is the crop.
        losses = self.losses(DecodedOutput(made, mel, replace(batch, waveform=waveform), codec), training=training)
        self.log_losses(losses, len(batch))
        return losses["loss"]

    def previews(self, batch: Batch) -> list[Preview]:
        """Clips through the autoencoder, and the vocoder if there is one."""
        codec = self.pipeline().mel_codec
        moments = codec.mel_to_moments(codec.waveform_to_mel(waveform_of(batch)))
        mels = codec.latent_to_mel(codec.moments_to_latent(moments))
        sounds = [None] * len(mels) if codec.vocoder is None else codec.mel_to_waveform(mels)
        return [Preview(name, *pair) for name, *pair in zip(batch.ids, mels, sounds, strict=True)]

    def pipeline(self) -> TextToAudioPipeline:
        """Front end, autoencoder with the averaged decoder, and vocoder."""
        codec = self.frozen.codec
        vae = cast(AutoencoderKL, self.average.module)
        rewards = self.rewards.to_dict()
        return TextToAudioPipeline(
            codec.mel, vae, codec.vocoder, rewards=rewards, audio_length_in_s=self.audio_length_in_s
        )

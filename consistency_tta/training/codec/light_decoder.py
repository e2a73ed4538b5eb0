"""Distilling an autoencoder's decoder and a vocoder into one light network."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.light_codec import LightCodec
from consistency_tta.contracts import Batch, Loss, Optimization
from consistency_tta.pipeline.fingerprints import codec_fingerprint
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.codec.synthesis import SynthesisTraining
from consistency_tta.training.crop import random_starts, spans
from consistency_tta.training.encoded_data import check_encodings
from consistency_tta.training.latents import waveform_of
from consistency_tta.training.step_rng import StepRNG


class LightDecoderTraining(SynthesisTraining):
    """Latent to waveform, by loss plugins that compare with the sound of the folder's own decoder and vocoder.

    That sound is a function of the latent, which a recording is not: nothing has to be guessed, and generated latents
    can be learnt from as well as recordings. The folder that this writes has the light network as its vocoder, and
    generates without the autoencoder's decoder. Training of a student comes first: what its last stage made of the
    decoder is what is distilled here.

    Args:
        model: folder with mel front end, autoencoder and a vocoder that reads mels; further parts are kept.
        decoder: the light network, of the autoencoder's latents.
        losses: loss plugins by name; an ``AdversarialLoss`` teaches textures that no distance can.
        loss_weights: weights of the losses by name.
        crop_frames: mel frames of a training example, cut at a random place; 0 for whole clips. Longer ones are nearer
            to the autoencoder's normalisation over whole sounds, and take more time.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.

    Raises:
        ConfigurationError: if the decoder was made for other latents.
    """

    def __init__(
        self,
        model: str,
        decoder: FourierDecoder,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None = None,
        crop_frames: int = 256,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        super().__init__(model, decoder, losses, loss_weights, crop_frames, ema_decay, optimization, seed)
        self.parts.require("vocoder")
        codec = self.frozen.codec
        LightCodec(codec.mel, codec.vae, decoder)  # checks the decoder's sizes
        self.model = model

    def setup(self, stage: str) -> None:
        """Compare the autoencoder that encoded the data with this one."""
        super().setup(stage)
        encodings = getattr(getattr(self.trainer, "datamodule", None), "encodings", {})
        check_encodings(encodings, self.model, {"codec": lambda: codec_fingerprint(self.frozen.codec)})

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """The weighted losses of the decoder's sound."""
        codec = self.frozen.codec
        with torch.no_grad():
            latent = self.latent(batch, rng)
            if self.trainer.training and self.crop_frames:
                frames = self.crop_frames // codec.downsampling
                starts = random_starts(rng, len(latent), latent.shape[2], frames)
                latent = spans(latent.transpose(1, 2), starts, frames).transpose(1, 2)
            target = codec.decode(latent)[:, 0]
        decoder = self.vocoder if self.trainer.training else self.average.module
        # A loss that compares with the recording would compare with what is learnt from.
        return self.weighted_loss(decoder(latent), target, replace(batch, waveform=target))

    def latent(self, batch: Batch, rng: StepRNG) -> Tensor:
        """Scaled latents (B, C, T, F) of a batch; in training drawn from the posterior, as a teacher learns them."""
        moments = batch.moments
        if moments is None:
            moments = self.frozen.codec.encode(waveform_of(batch))
        moments = moments.float()  # Lightning casts a batch to the trainer's precision
        noise = rng.normal_like(moments.chunk(2, dim=1)[0]) if self.trainer.training else None
        return self.frozen.codec.moments_to_latent(moments, noise)

    def previews(self, batch: Batch) -> list[Preview]:
        """The clips' latents, decoded by the averaged light network."""
        codec = self.pipeline().codec
        moments = codec.encode(waveform_of(batch)) if batch.moments is None else batch.moments.float()
        sounds = codec.decode(codec.moments_to_latent(moments))[:, 0]
        return [Preview(n, *pair) for n, *pair in zip(batch.ids, codec.waveform_to_mel(sounds), sounds, strict=True)]

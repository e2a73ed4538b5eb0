"""What losses of sound decode with in a distillation: target and student through their decoders, whole or cropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from consistency_tta.components.light_codec import LightCodec
from consistency_tta.contracts import Batch, Codec, Randomness
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.crop import check_crop_frames, random_starts
from consistency_tta.training.distillation.decoder import (
    Crop,
    TrainedDecoder,
    decoder_of,
    own_autoencoder,
    with_parts,
)


@dataclass(frozen=True)
class DecodingConfig:
    """How losses of sound decode latents.

    Attributes:
        train_decoder: whether the losses of sound also train the autoencoder's decoder, through which the student is
            decoded and exported. It starts at that of the student's folder, if there is one, which is kept otherwise;
            targets keep the teacher's own.
        gradient_checkpointing: whether the decoders' activations are computed again on the way back instead of kept:
            losses of sound then need less memory, and more time.
        crop_frames: mel frames (latent frames where the codec has no mels) that losses of sound compare of a training
            example, cut at a random place; 0 for all.
    """

    train_decoder: bool = False
    gradient_checkpointing: bool = False
    crop_frames: int = 0


class LossDecoders(nn.Module):
    """The decoders of a distillation.

    Args:
        codec: the teacher's, frozen. It decodes targets, and the student's latents where the student has no decoder of
            its own.
        start: the autoencoder of the folder that the student starts from. A decoder that an earlier stage has tuned is
            the student's own.
        latent_frames: T of a whole latent.
        config: what is trained, kept and cropped.
        ema_decay: of a trained decoder's averaged weights.

    Raises:
        ConfigurationError: if an autoencoder's decoder is to be trained that the codec does not use, or the crop is out
            of range.
    """

    def __init__(
        self,
        codec: Codec,
        start: nn.Module | None,
        latent_frames: int,
        config: DecodingConfig,
        ema_decay: float,
    ) -> None:
        super().__init__()
        self.downsampling: int = getattr(codec, "downsampling", 1)  # of mel frames
        check_crop_frames(config.crop_frames, self.downsampling, latent_frames * self.downsampling)
        if config.train_decoder and isinstance(codec, LightCodec):
            raise ConfigurationError(
                "decoding.train_decoder trains an autoencoder's decoder, but the teacher's vocoder decodes latents "
                "without it: give a teacher with a vocoder that reads mels, and distil its decoder afterwards"
            )
        own = own_autoencoder(start, cast(nn.Module, codec.vae))
        self.frozen = Frozen(codec=codec)  # the owner's, which has it frozen, too
        self.decoder = TrainedDecoder(codec, own, ema_decay) if config.train_decoder else None
        # What an earlier stage made of the decoder stays the student's, where this one does not train it on.
        kept = None if config.train_decoder or own is codec.vae else with_parts(codec, decoder_of(own))
        self.kept_decoder = None if kept is None else Frozen(codec=kept)
        self.latent_frames = latent_frames
        self.config = config

    def setup(self) -> None:
        """Switch gradient checkpointing on, if configured; before, ``ddp_spawn`` could not pickle the decoders."""
        if self.config.gradient_checkpointing:
            kept = None if self.kept_decoder is None else self.kept_decoder.codec
            for decoder in filter(None, (self.frozen.codec, self.decoder, kept)):
                decoder.enable_gradient_checkpointing()

    def student_codec(self, averaged: bool) -> Codec | None:
        """The student's codec, if its decoder is not the teacher's."""
        if self.decoder is not None:
            return self.decoder.codec(averaged)
        return None if self.kept_decoder is None else self.kept_decoder.codec

    def decoding(self, batch: Batch, rng: Randomness, training: bool) -> dict[str, Any]:
        """What a :class:`DistillationOutput` needs of sound: the batch, the decoders of target and student, a crop.

        In training losses may compare a crop. In validation they compare whole clips, and the student's decoder is
        averaged.
        """
        codec, own = self.frozen.codec, self.student_codec(averaged=not training)
        whole = {"batch": batch, "decoder": codec, "student_decoder": own}
        if not training or not self.config.crop_frames:
            return whole
        frames = self.config.crop_frames // self.downsampling
        crop = Crop(random_starts(rng, len(batch), self.latent_frames, frames), frames, codec.samples_per_frame)
        waveform = None if batch.waveform is None else crop.waveform(batch.waveform)
        return whole | {"batch": replace(batch, waveform=waveform, audio_embeddings={}), "crop": crop.latent}

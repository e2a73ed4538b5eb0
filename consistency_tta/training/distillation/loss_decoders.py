"""What losses of sound hear in a distillation: target and student through their decoders, whole or a crop of them."""

from __future__ import annotations

from dataclasses import replace

from diffusers import AutoencoderKL
from torch import nn

from consistency_tta.components.codec import AudioCodec
from consistency_tta.contracts import Batch, Decoder
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.crop import check_crop_frames, random_starts
from consistency_tta.training.distillation.decoder import (
    Crop,
    CroppedDecoder,
    TrainedDecoder,
    decoder_of,
    own_autoencoder,
    with_parts,
)
from consistency_tta.training.step_rng import StepRNG


class LossDecoders(nn.Module):
    """The decoders of a distillation.

    Args:
        codec: the teacher's, frozen. Targets are heard through it, and so is a student without a decoder of its own.
        start: the autoencoder of the folder that the student starts from. A decoder that an earlier stage has tuned is
            the student's own.
        latent_frames: T of a whole latent.
        train_decoder: whether the student gets a decoder that is trained along.
        ema_decay: of that decoder's averaged weights.
        decoder_gradient_checkpointing: whether decoders are computed again on the way back instead of being kept.
        crop_frames: mel frames of a crop, at a random place; 0 for the whole clip.
    """

    def __init__(
        self,
        codec: AudioCodec,
        start: AutoencoderKL | None,
        latent_frames: int,
        *,
        train_decoder: bool,
        ema_decay: float,
        decoder_gradient_checkpointing: bool,
        crop_frames: int,
    ) -> None:
        super().__init__()
        check_crop_frames(crop_frames, codec.downsampling, latent_frames * codec.downsampling)
        own = own_autoencoder(start, codec.vae)
        self.frozen = Frozen(codec=codec)  # the owner's, which has it frozen, too
        self.decoder = TrainedDecoder(codec, own, ema_decay) if train_decoder else None
        # What an earlier stage made of the decoder stays the student's, where this one does not train it on.
        kept = None if train_decoder or own is codec.vae else with_parts(codec, decoder_of(own))
        self.kept_decoder = None if kept is None else Frozen(codec=kept)
        self.latent_frames = latent_frames
        self.decoder_gradient_checkpointing = decoder_gradient_checkpointing
        self.crop_frames = crop_frames

    def setup(self) -> None:
        """Have decoders computed again on the way back, if asked; before, ``ddp_spawn`` could not pickle them."""
        if self.decoder_gradient_checkpointing:
            kept = None if self.kept_decoder is None else self.kept_decoder.codec
            for decoder in filter(None, (self.frozen.codec, self.decoder, kept)):
                decoder.enable_gradient_checkpointing()

    def student_codec(self, averaged: bool) -> AudioCodec | None:
        """What the student is heard through, if its decoder is not the teacher's."""
        if self.decoder is not None:
            return self.decoder.codec(averaged)
        return None if self.kept_decoder is None else self.kept_decoder.codec

    def decoders(self, batch: Batch, rng: StepRNG, training: bool) -> tuple[Batch, Decoder, Decoder | None]:
        """What a :class:`DistillationOutput` needs of sound: the batch, and the decoders of target and student.

        In training all three may be of the same crop. Outside of it they are whole, and the student's decoder averaged.
        """
        codec, own = self.frozen.codec, self.student_codec(averaged=not training)
        if not training or not self.crop_frames:
            return batch, codec, own
        frames = self.crop_frames // codec.downsampling
        starts = random_starts(rng, len(batch), self.latent_frames, frames)
        crop = Crop(starts, frames, codec.downsampling * codec.mel.config["hop_length"])
        waveform = None if batch.waveform is None else crop.waveform(batch.waveform)
        return replace(batch, waveform=waveform), CroppedDecoder(codec, crop), own and CroppedDecoder(own, crop)

"""What the trainings of U-Nets share: a model folder's frozen networks, and batches turned into latents and text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from consistency_tta.components.text import TextEncoder
from consistency_tta.contracts import Batch, Optimization, TextEmbedding
from consistency_tta.diffusion.guidance import same_length
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import codec_fingerprint, text_fingerprint
from consistency_tta.runtime.errors import DataError, ShapeError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.encoded_data import check_encodings
from consistency_tta.training.step_rng import VALIDATION_SEED, StepRNG
from consistency_tta.training.time_binned_losses import TimeBinnedLosses


class LatentTraining(TrainingModule):
    """Training on the latents of a model folder.

    Args:
        model: the folder, loaded.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
        frozen: further networks that are used but not trained.
    """

    #: Set by the subclass, which knows its losses and its schedule.
    binned: TimeBinnedLosses

    def __init__(
        self, model: TextToAudioPipeline, optimization: Optimization, seed: int | None, **frozen: nn.Module
    ) -> None:
        super().__init__(optimization, seed)
        self.frozen = Frozen(codec=model.codec, **frozen)
        self.earlier_stages = model.config.get("training") or ()
        self.audio_length_in_s = model.config.get("audio_length_in_s")
        self._empty: TextEmbedding | None = None

    def setup(self, stage: str) -> None:
        """Compare the networks that encoded the data with those of this training."""
        super().setup(stage)
        encodings = getattr(getattr(self.trainer, "datamodule", None), "encodings", {})
        model = self.hparams.get("teacher", self.hparams.get("model", "this model"))
        check_encodings(encodings, str(model), self.fingerprints())

    def fingerprints(self) -> dict[str, Callable[[], str] | None]:
        """How to recognise the networks whose results may be read from disk, by name; None for one that is trained."""
        text = self.frozen.text if "text" in self.frozen.held else None
        return {
            "codec": lambda: codec_fingerprint(self.whole(self.frozen.codec)),
            "text": None if text is None else lambda: text_fingerprint(self.whole(text)),
        }

    def embed_empty(self) -> TextEmbedding:
        """The empty caption, by the frozen text encoder; computed once on a device."""
        if self._empty is None or self._empty.mask.device != self.device:
            # What validation's inference mode computes could not be used in training.
            with torch.inference_mode(False), torch.no_grad():
                self._empty = self.frozen.text([""])
        return self._empty

    @property
    def sample_rate(self) -> int:
        """Of all sounds, in Hz."""
        return self.frozen.codec.sample_rate

    def latents(self, batch: Batch, rng: StepRNG) -> Tensor:
        """z_0 (B, C, *): a draw from the codec's posterior, without gradients."""
        with torch.no_grad():
            moments = batch.moments
            if moments is None:
                moments = self.frozen.codec.encode(waveform_of(batch))
            # Lightning casts a batch to the trainer's precision; networks return float32 whatever theirs is.
            moments = moments.to(torch.promote_types(moments.dtype, torch.float32))
            z_0 = self.frozen.codec.moments_to_latent(moments, rng.normal_like(moments.chunk(2, dim=1)[0]))
        if tuple(z_0.shape[1:]) != tuple(self.latent_shape):
            raise ShapeError(
                f"the network was made for latents (C, *) of {tuple(self.latent_shape)}, but the data's are "
                f"{tuple(z_0.shape[1:])}: set the datamodule's num_samples, or the network's size, to agree"
            )
        return z_0

    def durations(self, z_0: Tensor) -> dict[str, Tensor]:
        """Seconds (B,) that latents (B, C, *) cover, for networks that read durations."""
        codec = self.frozen.codec
        seconds = z_0.shape[2] * codec.samples_per_frame / codec.sample_rate
        return {"seconds_start": z_0.new_zeros(len(z_0)), "seconds_total": z_0.new_full((len(z_0),), seconds)}

    def bin_by_time(self, values: dict[str, Tensor], t: Tensor) -> None:
        """Outside training, gather the values (B,) of losses at times t (B,)."""
        if not self.trainer.training:
            self.binned.update(values, t)

    def on_validation_epoch_end(self) -> None:
        """Log each loss per range of noise levels, ``val/<name>_t/<range>`` besides its mean over all of them."""
        # Already summed over processes.
        stage = "test" if self.trainer.testing else "val"
        self.log_dict({f"{stage}/{name}": value for name, value in self.binned.compute().items()})
        self.binned.reset()

    def on_test_epoch_end(self) -> None:
        """As :meth:`on_validation_epoch_end`."""
        self.on_validation_epoch_end()

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, ...]:
        """(C, *) of the latents that the network was made for."""

    def previews(self, batch: Batch) -> list[Preview]:
        """Sounds for the batch's captions, from the same noise in every epoch."""
        sounds = self.generate(batch.captions, torch.Generator().manual_seed(VALIDATION_SEED))
        mels = self.frozen.codec.waveform_to_mel(sounds.to(self.device))
        return [Preview(c, mel, sound) for c, mel, sound in zip(batch.captions, mels, sounds, strict=True)]

    def references(self, batch: Batch, teacher: bool = True) -> dict[str, Tensor]:
        """The recordings; where the data are latents, as the codec decodes the means of their posteriors."""
        if batch.waveform is None and batch.moments is not None:
            codec = self.whole(self.frozen.codec)
            return {"recording": codec.decode(codec.moments_to_latent(batch.moments.float()))}
        return super().references(batch, teacher)

    def generate(self, captions: Sequence[str], generator: torch.Generator) -> Tensor:
        """Waveforms (B, samples) on the CPU of the model as it stands."""
        return sample_quietly(self.pipeline(), captions, generator)


def sample_quietly(pipeline: TextToAudioPipeline, captions: Sequence[str], generator: torch.Generator) -> Tensor:
    """Waveforms (B, samples) or (B, channels, samples) of a model on the CPU, as long as its latents."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(captions, generator=generator, audio_length_in_s=pipeline.latent_seconds).waveform


def waveform_of(batch: Batch) -> Tensor:
    """The batch's waveform, or an error if there is none."""
    if batch.waveform is None:
        raise DataError(
            "expected a batch with waveforms or latent moments, got neither: look at the datamodule's collate"
        )
    return batch.waveform


def text_rows(condition: Tensor, chosen: TextEmbedding, other: TextEmbedding) -> TextEmbedding:
    """Row by row ``chosen`` where the condition (B,) holds, else ``other``, of one row or B; padded to one length."""
    chosen, other = same_length(chosen, other)
    return TextEmbedding(
        torch.where(condition[:, None, None], chosen.embedding, other.embedding),
        torch.where(condition[:, None], chosen.mask, other.mask),
    )


def embed_with_dropout(
    batch: Batch,
    text: TextEncoder,
    dropout: float,
    rng: StepRNG,
    unconditional: Callable[[TextEmbedding], TextEmbedding],
    empty: Callable[[], TextEmbedding],
) -> TextEmbedding:
    """Embeddings of the batch's captions, each replaced with the probability ``dropout`` by what means no caption.

    Args:
        batch: of B examples.
        text: embeds captions.
        dropout: in [0, 1).
        rng: draws which.
        unconditional: what means no caption, of the empty prompt's embedding, as a backbone has it.
        empty: the empty prompt's embedding, where the batch's captions were embedded beforehand.
    """
    kept = rng.uniform(len(batch)) >= dropout
    if batch.text is not None:
        if not dropout:
            return batch.text
        no_caption = unconditional(empty())  # in every process, since a sharded text encoder waits for all of them
        return batch.text if kept.all() else text_rows(rng.to_device(kept), batch.text, no_caption)
    embedded = text([c if keep else "" for c, keep in zip(batch.captions, kept.tolist(), strict=True)])
    return text_rows(rng.to_device(kept), embedded, unconditional(embedded))

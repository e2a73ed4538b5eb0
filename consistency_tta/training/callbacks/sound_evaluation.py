"""Metrics of the sounds that a pipeline generates for the fixed prompts of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.contracts import AudioEmbedding, AudioEncoder, Batch, Codec, to_mono
from consistency_tta.metrics.inputs import EMBEDDINGS, RECORDINGS, metric_inputs, metric_numbers, select_inputs
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import exact_device
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling, Sounds, read_captions
from consistency_tta.training.callbacks.recordings import PromptRecordings
from consistency_tta.training.callbacks.reference import VALIDATION, reference_embeddings, validation_embeddings


class SoundEvaluation:
    """Generates sounds for fixed captions from fixed noise, and computes metrics of them.

    Each process generates its share of the sounds, and torchmetrics combines the shares.

    Args:
        metrics, captions, embedder, reference, sampling: see
            :class:`consistency_tta.training.callbacks.sound_metrics.SoundMetrics`.

    Raises:
        ConfigurationError: a metric needs an option that is not given.
    """

    def __init__(
        self,
        metrics: dict[str, Metric],
        captions: list[str] | str | int,
        embedder: AudioEncoder | None,
        reference: str | None,
        sampling: PromptSampling,
    ) -> None:
        self.inputs = {name: metric_inputs(name, metric) for name, metric in metrics.items()}
        for name, needed in self.inputs.items():
            _check_inputs(name, needed, captions, embedder, reference)
        self.metrics = {name: metric.requires_grad_(False) for name, metric in metrics.items()}
        self.captions = captions if isinstance(captions, int) else read_captions(captions)
        self.encoder = embedder and embedder.eval().requires_grad_(False)
        self.reference = reference
        self.sampling = sampling
        self._reference: list[AudioEmbedding] | None = None
        self._recordings: PromptRecordings | None = None

    def compute(
        self,
        trainer: Trainer,
        pipeline: TextToAudioPipeline,
        sampling: PromptSampling | None = None,
        also: Callable[[Tensor, Sounds], None] | None = None,
    ) -> dict[str, Tensor]:
        """The scalars of all metrics by name, the same in all processes, which must all call this.

        The global random generators are left as they were.

        Args:
            trainer: whose validation data have the captions and recordings, and whose device embeds.
            pipeline: generates the sounds.
            sampling: how; as configured if None.
            also: called with each batch of sounds, and their waveforms on the device.
        """
        sampling = sampling or self.sampling
        # Metrics and other people's networks may draw random numbers; they draw the same ones every time.
        with torch.no_grad(), isolate_rng():
            torch.manual_seed(sampling.seed)
            self._update_all(trainer, pipeline, sampling, also)
            values = {name: metric_numbers(name, metric.compute()) for name, metric in self.metrics.items()}
        for metric in self.metrics.values():
            metric.reset()
        return {key: value for numbers in values.values() for key, value in numbers.items()}

    def _update_all(
        self,
        trainer: Trainer,
        pipeline: TextToAudioPipeline,
        sampling: PromptSampling,
        also: Callable[[Tensor, Sounds], None] | None,
    ) -> None:
        """Update the metrics with this process's share of the sounds and of the reference."""
        device, place = trainer.strategy.root_device, (trainer.global_rank, trainer.world_size)
        for metric in self.metrics.values():
            metric.to(exact_device(device))  # metrics sum in float64
        if self.encoder is not None:
            self.encoder.to(device)
        prompts = FixedPrompts(self._read_prompts(trainer), sampling)
        if len(prompts.captions) * sampling.num_samples < trainer.world_size:
            raise ConfigurationError(
                f"expected at least a sound for each of {trainer.world_size} processes, got {len(prompts.captions)} "
                f"captions x {sampling.num_samples}: give more captions"
            )
        for sounds in prompts.sounds(pipeline, *place):
            waveform = sounds.waveform.to(device)
            self._update(self._inputs_of(waveform, sounds))
            if also is not None:
                also(waveform, sounds)
        if self.reference is not None and self.encoder is not None:
            if self._reference is None:
                self._reference = self._embed_reference(trainer, pipeline.codec, device)
            for embedding in self._reference:
                self._update({"real": True, "vectors": embedding.vectors, "logits": embedding.logits})

    def _embed_reference(self, trainer: Trainer, codec: Codec, device: torch.device) -> list[AudioEmbedding]:
        """This process's share of the reference."""
        assert self.reference is not None
        assert self.encoder is not None
        place = (trainer.global_rank, trainer.world_size)
        if self.reference == VALIDATION:
            return list(validation_embeddings(_validation_loader(trainer), codec, self.encoder, device, *place))
        return list(reference_embeddings(self.reference, self.encoder, device, *place))

    def _read_prompts(self, trainer: Trainer) -> Sequence[str]:
        """The captions; those of the validation set are read once, the same in all processes."""
        if isinstance(self.captions, int):
            loader = _validation_loader(trainer)
            examples = [loader.dataset[index] for index in range(min(self.captions, len(loader.dataset)))]
            batch: Batch = loader.collate_fn(examples)
            self.captions = batch.captions
            paired = [name for name, needed in self.inputs.items() if needed & RECORDINGS]
            if paired and batch.waveform is None:
                raise ConfigurationError(
                    f"metric {paired[0]!r} compares with recordings, but the validation data have none: choose a "
                    "datamodule that reads audio instead of latents, or drop the metric"
                )
            if paired and batch.waveform is not None:
                self._recordings = PromptRecordings(to_mono(batch.waveform), self.encoder)
        return self.captions

    def _inputs_of(self, waveform: Tensor, sounds: Sounds) -> dict[str, Any]:
        """The inputs of metrics for a batch of sounds, whose waveforms (B, samples) are on the device."""
        needed = set().union(*self.inputs.values())
        inputs: dict[str, Any] = {
            "waveform": waveform,
            "sample_rate": sounds.sample_rate,
            "captions": sounds.captions,
            "prompts": sounds.prompts.to(waveform.device),
            "real": False,
        }
        if self.encoder is not None:
            embedding = self.encoder.embed_windows(waveform.float(), sounds.sample_rate)
            inputs |= {"vectors": embedding.vectors, "logits": embedding.logits}
            if "text_vectors" in needed and self.encoder.embeds_text:
                inputs["text_vectors"] = self.encoder.embed_text(sounds.captions)
        if self._recordings is not None:
            prompts = sounds.prompts.tolist()
            inputs |= self._recordings.inputs(needed, prompts, sounds.sample_rate, waveform.device)
        return inputs

    def _update(self, available: dict[str, Any]) -> None:
        """Update each metric with the inputs that it takes; with the reference only those that take ``real``."""
        available = {
            key: value.to(exact_device(value.device)) if isinstance(value, Tensor) else value
            for key, value in available.items()
        }
        for name, metric in self.metrics.items():
            if not available["real"] or "real" in self.inputs[name]:
                metric.update(**select_inputs(name, self.inputs[name], available))


def _validation_loader(trainer: Trainer) -> Any:
    loaders = trainer.val_dataloaders
    return loaders[0] if isinstance(loaders, list | tuple) else loaders


def _check_inputs(
    name: str,
    needed: set[str],
    captions: list[str] | str | int,
    encoder: AudioEncoder | None,
    reference: str | None,
) -> None:
    """Refuse a metric that needs an option which is not given."""
    if needed & EMBEDDINGS and encoder is None:
        raise ConfigurationError(f"metric {name!r} needs {', '.join(sorted(needed & EMBEDDINGS))}: give an embedder")
    if needed & RECORDINGS and not isinstance(captions, int):
        raise ConfigurationError(
            f"metric {name!r} compares each sound with the recording of its caption: give a number as captions, of the "
            f"validation set's first, got {captions!r}"
        )
    if "real" in needed and (reference is None or needed - {"vectors", "embeddings", "logits", "real"}):
        raise ConfigurationError(
            f"metric {name!r} compares with recordings: give their folder, or {VALIDATION!r}, as reference"
        )

"""Metrics of generated sounds during training, for the same prompts from the same noise at every validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torchmetrics import Metric

from consistency_tta.contracts import AudioEmbedding, AudioEncoder, Batch, MelDecoder, to_mono
from consistency_tta.metrics.inputs import EMBEDDINGS, RECORDINGS, metric_inputs, metric_numbers, select_inputs
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.overfitting import OverfittingGuard
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling, Sounds, read_captions
from consistency_tta.training.callbacks.recordings import PromptRecordings
from consistency_tta.training.callbacks.reference import check_reference, reference_embeddings


class SoundMetrics(Callback):
    """Computes metrics of what the averaged weights generate, and logs ``val/metric/<name>``.

    Of a metric that computes several numbers, such as ``Coverage``, each is ``val/metric/<name>/<number>``.

    Captions and noise are the same at every validation, so that curves can be compared, and a ``ModelCheckpoint`` can
    keep the best by any of them (``monitor: val/metric/<name>``). Each process generates its share of the sounds, and
    torchmetrics combines the shares. The training itself is bit for bit as without this callback.

    The names of the parameters of a metric's ``update`` select its inputs: see :mod:`consistency_tta.metrics.inputs`,
    which the command ``evaluate`` uses, too. Inputs of recordings need ``captions`` to be a number, and a validation
    set with recordings.

    Args:
        metrics: by name, which is also the name in the log.
        captions: list of captions; or a file of them (text with one a line, or of
            :mod:`consistency_tta.storage.captions`); or how many of the validation set's first.
        embedder: the encoder whose vectors and logits metrics take.
        reference: recordings for metrics that take ``real``: a folder, or a safetensors file of ``vectors``.
        guard: watches whether fine-tuning with an audio-text encoder overfits it.
        sampling: guidance scale, steps, sounds per caption.
        every_n_validations: interval in validations, since generating takes time. Keep 1 with a ``ModelCheckpoint``
            that keeps several by a metric: in between it would compare the previous value again.

    Raises:
        ConfigurationError: a metric needs an option that is not given, or a number is too small.
    """

    def __init__(
        self,
        metrics: dict[str, Metric],
        captions: list[str] | str | int = 16,
        embedder: AudioEncoder | None = None,
        reference: str | None = None,
        guard: OverfittingGuard | None = None,
        sampling: PromptSampling = PromptSampling(),  # noqa: B008  # frozen
        every_n_validations: int = 1,
    ) -> None:
        self.inputs = {name: metric_inputs(name, metric) for name, metric in metrics.items()}
        for name, needed in self.inputs.items():
            _check_inputs(name, needed, captions, embedder, reference)
        least = {"num_samples": sampling.num_samples, "batch_size": sampling.batch_size}
        least |= {"every_n_validations": every_n_validations, "steps": 1 if sampling.steps is None else sampling.steps}
        least |= {"metrics or a guard": len(metrics) + (guard is not None)}
        least |= {"captions": captions} if isinstance(captions, int) else {}
        for name, value in least.items():
            if value < 1:
                raise ConfigurationError(f"expected {name} of at least 1, got {value}")
        self.metrics = {name: metric.requires_grad_(False) for name, metric in metrics.items()}
        self.captions = captions if isinstance(captions, int) else read_captions(captions)
        self.encoder = embedder and embedder.eval().requires_grad_(False)
        self.reference = reference
        self.guard = guard
        self.sampling = sampling
        self.every_n_validations = every_n_validations
        self.validations = 0
        self._reference: list[AudioEmbedding] | None = None
        self._recordings: PromptRecordings | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that generates no sound, and a reference that cannot be embedded, before training."""
        pipeline = pl_module.pipeline() if isinstance(pl_module, TrainingModule) else None
        if not isinstance(pl_module, TrainingModule) or not isinstance(pipeline, TextToAudioPipeline):
            raise ConfigurationError(
                f"SoundMetrics is for models that generate sound, and {type(pl_module).__name__} generates none"
            )
        pipeline.require("vae", "text_encoder", "tokenizer", "unet|transformer", "scheduler")
        if isinstance(pipeline.codec, MelDecoder):
            pipeline.require("vocoder")
        # Every process checks everything, so that all refuse alike and none waits for another that has stopped.
        if self.reference is not None and self.encoder is not None and stage in ("fit", "validate"):
            check_reference(self.reference, self.encoder)
        if self.guard is not None:
            self.guard.attach(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a run without validations, in which no metric is ever computed."""
        if not trainer.enable_validation:
            rank_zero_warn("SoundMetrics computes metrics at validations, and this run has none: give validation data")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate sounds, compute the metrics and log them."""
        assert isinstance(pl_module, TrainingModule)  # setup saw to it
        if trainer.sanity_checking:
            return
        self.validations += 1
        if (self.validations - 1) % self.every_n_validations:
            return
        # Metrics and other people's networks may draw random numbers; they draw the same ones every time.
        with torch.no_grad(), isolate_rng():
            torch.manual_seed(self.sampling.seed)
            self.update_metrics(trainer, pl_module)
            values = {name: metric_numbers(name, metric.compute()) for name, metric in self.metrics.items()}
        for name, numbers in values.items():
            self.metrics[name].reset()
            for key, value in numbers.items():
                pl_module.log(f"val/metric/{key}", value.to(pl_module.device, torch.float32), sync_dist=True)
        if self.guard is not None:
            self.guard.compute_and_log(trainer, pl_module)

    def update_metrics(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Update the metrics with this process's share of the sounds and of the reference."""
        device, place = pl_module.device, (trainer.global_rank, trainer.world_size)
        for part in (*self.metrics.values(), self.encoder):
            if part is not None:
                part.to(device)
        prompts = FixedPrompts(self.read_prompts(trainer), self.sampling)
        if len(prompts.captions) * prompts.sampling.num_samples < trainer.world_size:
            raise ConfigurationError(
                f"expected at least a sound for each of {trainer.world_size} processes, got {len(prompts.captions)} "
                f"captions x {prompts.sampling.num_samples}: give more captions"
            )
        for sounds in prompts.sounds(pl_module.pipeline(), *place):
            self.add_sounds(sounds, device)
        if self.reference is not None and self.encoder is not None:
            if self._reference is None:
                self._reference = list(reference_embeddings(self.reference, self.encoder, device, *place))
            for embedding in self._reference:
                self.update({"real": True, "vectors": embedding.vectors, "logits": embedding.logits})

    def read_prompts(self, trainer: Trainer) -> Sequence[str]:
        """The captions; those of the validation set are read once, the same in all processes."""
        if isinstance(self.captions, int):
            loaders = trainer.val_dataloaders
            loader: Any = loaders[0] if isinstance(loaders, list | tuple) else loaders
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

    def add_sounds(self, sounds: Sounds, device: torch.device) -> None:
        """Update metrics and guard with a batch of sounds."""
        waveform, needed = sounds.waveform.to(device), set().union(*self.inputs.values())
        available: dict[str, Any] = {
            "waveform": waveform,
            "sample_rate": sounds.sample_rate,
            "captions": sounds.captions,
            "prompts": sounds.prompts.to(device),
            "real": False,
        }
        if self.encoder is not None:
            embedding = self.encoder.embed_windows(waveform.float(), sounds.sample_rate)
            available |= {"vectors": embedding.vectors, "logits": embedding.logits}
            if "text_vectors" in needed and self.encoder.embeds_text:
                available["text_vectors"] = self.encoder.embed_text(sounds.captions)
        if self._recordings is not None:
            available |= self._recordings.inputs(needed, sounds.prompts.tolist(), sounds.sample_rate, device)
        self.update(available)
        if self.guard is not None:
            self.guard.update(waveform, sounds)

    def update(self, available: dict[str, Any]) -> None:
        """Update each metric with the inputs that it takes; with the reference only those that take ``real``."""
        for name, metric in self.metrics.items():
            if not available["real"] or "real" in self.inputs[name]:
                metric.update(**select_inputs(name, self.inputs[name], available))

    def state_dict(self) -> dict[str, Any]:
        """The number of validations, and the state of the guard."""
        return {"validations": self.validations, "guard": self.guard and self.guard.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self.validations = state_dict["validations"]
        if self.guard is not None and state_dict["guard"] is not None:
            self.guard.load_state_dict(state_dict["guard"])


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
        raise ConfigurationError(f"metric {name!r} compares with recordings: give their folder as reference")

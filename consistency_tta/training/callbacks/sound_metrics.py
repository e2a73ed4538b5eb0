"""Metrics of generated sounds during training, for the same prompts from the same noise at every validation."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torchmetrics import Metric

from consistency_tta.contracts import AudioEncoder, MelDecoder
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.overfitting import OverfittingGuard
from consistency_tta.training.callbacks.prompts import PromptSampling
from consistency_tta.training.callbacks.reference import VALIDATION, check_reference
from consistency_tta.training.callbacks.sound_evaluation import SoundEvaluation

#: What the names of metrics begin with in the log.
PREFIX = "val/metric/"


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
        reference: recordings for metrics that take ``real``: a folder; a safetensors file of ``vectors``; or
            ``validation``, the validation set's, which are decoded by the codec where the data are latents.
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
        least = {"num_samples": sampling.num_samples, "batch_size": sampling.batch_size}
        least |= {"every_n_validations": every_n_validations, "steps": 1 if sampling.steps is None else sampling.steps}
        least |= {"metrics or a guard": len(metrics) + (guard is not None)}
        least |= {"captions": captions} if isinstance(captions, int) else {}
        for name, value in least.items():
            if value < 1:
                raise ConfigurationError(f"expected {name} of at least 1, got {value}")
        self.evaluation = SoundEvaluation(metrics, captions, embedder, reference, sampling)
        self.guard = guard
        self.every_n_validations = every_n_validations
        self.validations = 0
        #: Whether the last validation was one that computed metrics.
        self.computed = False

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
        reference, encoder = self.evaluation.reference, self.evaluation.encoder
        if reference is not None and reference != VALIDATION and encoder is not None and stage in ("fit", "validate"):
            check_reference(reference, encoder)
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
        self.computed = (self.validations - 1) % self.every_n_validations == 0
        if not self.computed:
            return
        also = None if self.guard is None else self.guard.update
        for key, value in self.evaluation.compute(trainer, pl_module.pipeline(), also=also).items():
            pl_module.log(f"{PREFIX}{key}", value.float().to(pl_module.device), sync_dist=True)
        if self.guard is not None:
            self.guard.compute_and_log(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The number of validations, and the state of the guard."""
        return {"validations": self.validations, "guard": self.guard and self.guard.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self.validations = state_dict["validations"]
        if self.guard is not None and state_dict["guard"] is not None:
            self.guard.load_state_dict(state_dict["guard"])

"""Keeps the weights of the best validation among those that satisfy constraints, and exports these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.constraints import ConstrainedSelection, Constraint
from consistency_tta.training.callbacks.kept_weights import exported_state, replaced_state
from consistency_tta.training.callbacks.sound_metrics import PREFIX, SoundMetrics
from consistency_tta.training.fully_sharded import FullySharded


class BestUnderConstraints(Callback):
    """Keeps the averaged weights of the validation with the best metric among those whose constraints hold.

    ``ExportFolder`` exports these weights instead of the last ones, in whatever order the callbacks stand. Training
    goes on from its own weights. If no validation satisfies the constraints, a warning says so, and the last weights
    are exported.

    The copy is on the CPU and in every checkpoint, so that a resumed run keeps what the uninterrupted one does. A
    checkpoint that was saved just before a validation, as ``ModelCheckpoint`` with ``every_n_train_steps`` does, is
    resumed with that validation.

    Relative constraints need a :class:`~consistency_tta.training.SoundMetrics` with their metrics. Their references are
    computed once, before the first step, of the same captions from the same noise; a teacher's with its own number of
    steps. For a run that should also end when the monitored metric no longer improves, add Lightning's
    ``EarlyStopping``.

    Args:
        monitor: metric whose best value is kept, as it is named in the log, such as ``val/metric/clap``.
        constraints: by the names of metrics, such as ``val/metric/diversity: {at_least: 0.95, of: teacher}``.
        mode: whether the monitored metric is better if higher (``max``) or lower (``min``).
        patience: validations in a row with a violated constraint after which training stops; None to go on.

    Raises:
        ConfigurationError: an option is out of range, or a reference is not positive or cannot be computed.
    """

    def __init__(
        self,
        monitor: str,
        constraints: dict[str, Constraint],
        mode: Literal["max", "min"] = "max",
        patience: int | None = None,
    ) -> None:
        if mode not in ("max", "min"):
            raise ConfigurationError(f"expected mode max or min, got {mode!r}")
        if patience is not None and patience < 1:
            raise ConfigurationError(f"expected patience of at least 1, got {patience}")
        self.selection = ConstrainedSelection(monitor, mode == "max", constraints)
        self.patience = patience
        self.weights: dict[str, Tensor] | None = None
        self.values: dict[str, float] = {}  # of the kept validation
        self._resumed_before_validation = False
        self._validated_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse relative constraints without what computes their references, before training; and sharded weights."""
        if isinstance(trainer.strategy, FullySharded):
            raise ConfigurationError(
                "BestUnderConstraints keeps whole weights in each process, and the strategy fsdp2 shards them: set "
                "--trainer.strategy ddp, or keep the best checkpoint with ModelCheckpoint"
            )
        for name, constraint in self.selection.constraints.items():
            if constraint.of is not None:
                self._sound_metrics(trainer, name)
                if constraint.of == "teacher" and not isinstance(pl_module.hparams.get("teacher"), str):
                    raise ConfigurationError(
                        f"expected a training with a teacher for the constraint of {name}, got "
                        f"{type(pl_module).__name__}: give a model folder as `of`, or `start`"
                    )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the references that a resumed run does not have yet; catch up a validation that was cut off."""
        assert isinstance(pl_module, TrainingModule)
        values: dict[tuple[int, str], dict[str, Tensor]] = {}
        for name, constraint in self.selection.constraints.items():
            if constraint.of is None or name in self.selection.references:
                continue
            metrics = self._sound_metrics(trainer, name)
            key = (id(metrics), constraint.of)
            if key not in values:
                values[key] = _evaluate(trainer, pl_module, metrics, constraint.of)
            self.selection.references[name] = self._reference(name, constraint.of, values[key])
        if self._resumed_before_validation:
            self._resumed_before_validation = False
            _validate(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide, copy the weights if they are the best so far, and stop if the constraints failed too often."""
        skipped = any(isinstance(one, SoundMetrics) and not one.computed for one in _callbacks(trainer))
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validated_step = trainer.global_step
        if skipped:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.selection.consider(trainer.global_step, values):
            assert isinstance(pl_module, TrainingModule)
            self.weights, self.values = exported_state(pl_module), values
        if self.patience is not None and self.selection.failed_in_a_row >= self.patience:
            trainer.should_stop = True
            rank_zero_info(f"training stops: constraints failed in {self.patience} validations in a row")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report which step is kept and why the others are not."""
        if self.weights is None:
            rank_zero_warn(f"{self.selection.summary()}; the last weights are exported")
        else:
            rank_zero_info(self.selection.summary())

    def state_dict(self) -> dict[str, Any]:
        """The decisions, the kept weights, and the values of their validation."""
        return self.selection.state_dict() | {"weights": self.weights, "values": self.values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self.selection.load_state_dict(state_dict)
        self.weights = state_dict["weights"]
        self.values = state_dict.get("values", {})  # checkpoints of before have none

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note whether a validation is due that this checkpoint precedes."""
        checkpoint[_KEY] = self._validated_step != trainer.global_step and _is_validation_due(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read it."""
        self._resumed_before_validation = trainer.state.fn == TrainerFn.FITTING and checkpoint.get(_KEY, False)

    def _sound_metrics(self, trainer: Trainer, name: str) -> SoundMetrics:
        """The callback that computes a metric."""
        for callback in _callbacks(trainer):
            if isinstance(callback, SoundMetrics) and _owner(name) in callback.evaluation.metrics:
                return callback
        raise ConfigurationError(
            f"expected a SoundMetrics callback with the metric {_owner(name)!r} for the constraint of {name}, got "
            "none: add it, or give a bound without `of`"
        )

    def _reference(self, name: str, of: str, values: dict[str, Tensor]) -> float:
        key = name.removeprefix(PREFIX)
        value = float(values.get(key, float("nan")))
        if not 0 < value < float("inf"):
            raise ConfigurationError(
                f"expected a positive value of {name} of {of} to multiply bounds by, got {value:g} (computed: "
                f"{', '.join(values)}): give a bound without `of`"
            )
        rank_zero_info(f"{name} of {of}: {value:.4g}")
        return value


@contextmanager
def exported_weights(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Inside the context the module has the weights to export: the kept ones where a run keeps some."""
    guard = keeper(trainer)
    with replaced_state(pl_module, None if guard is None else guard.weights):
        yield


def keeper(trainer: Trainer) -> BestUnderConstraints | None:
    """The callback that has kept the weights to export; None if there is none, or no validation was kept."""
    guards = (one for one in _callbacks(trainer) if isinstance(one, BestUnderConstraints))
    return next((guard for guard in guards if guard.weights is not None), None)


#: In a checkpoint: whether it was saved before a validation of the same step.
_KEY = "before_validation"


def _callbacks(trainer: Trainer) -> list[Callback]:
    return getattr(trainer, "callbacks", [])


def _owner(name: str) -> str:
    """The metric that computes ``val/metric/<metric>`` or ``val/metric/<metric>/<number>``."""
    return name.removeprefix(PREFIX).partition("/")[0]


def _evaluate(trainer: Trainer, module: TrainingModule, metrics: SoundMetrics, of: str) -> dict[str, Tensor]:
    """The values of the student as it is, of its teacher, or of another model folder."""
    evaluation = metrics.evaluation
    if of == "start":
        return evaluation.compute(trainer, module.pipeline())
    folder = module.hparams["teacher"] if of == "teacher" else of
    pipeline = TextToAudioPipeline.from_pretrained(folder).to(module.device)
    return evaluation.compute(trainer, pipeline, replace(evaluation.sampling, steps=None))


def _is_validation_due(trainer: Trainer) -> bool:
    """Whether a step of training is over and Lightning validates before the next one."""
    fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    batches: Any = loop.batch_progress.current
    if trainer.state.fn != TrainerFn.FITTING or fit._data_fetcher is None or not 0 < batches.ready == batches.processed:
        return False
    return bool(loop._should_check_val_fx(fit._data_fetcher))


def _validate(trainer: Trainer) -> None:
    """Run a validation now, as Lightning's training loop does."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True

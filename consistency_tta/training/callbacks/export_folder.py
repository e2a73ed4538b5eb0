"""The model folder that a training leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from consistency_tta.components.clap_model import Clap
from consistency_tta.pipeline.finite_weights import check_finite
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.storage.kept_folder import make_room, publish
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.best_under_constraints import exported_weights, keeper
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps
from consistency_tta.training.callbacks.run_dir import run_folder
from consistency_tta.training.checkpoint_search import go_on_from
from consistency_tta.training.training_record import metric_values, record_training, run_facts


class ExportFolder(Callback):
    """Writes the model folder when training ends well; not after ``fast_dev_run``.

    The model is written to ``model`` in the run's own folder, such as ``lightning_logs/version_0/model``, and
    ``folder`` then has the same files (hard links, which take no space). So a run never replaces the model of another:
    that one stays in its own run's folder. What else is at either place is renamed to ``<name>.1``, ``<name>.2``, ...

    The weights are the averages of the last step, or those that ``BestUnderConstraints`` has kept. The model's card
    says what the run knows: data, teacher, objective, losses, rewards, and the steps and values of validations of these
    weights. A CLAP has no card.

    Args:
        folder: where the model of the last run that ended well is found.
        license: of the weights, for the card, by the hub's name such as ``mit``; null if it is not decided.
    """

    def __init__(self, folder: str, license: str | None = None) -> None:  # noqa: A002  # diffusers' name
        self.folder = folder
        self.license = license
        self.trained = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a run.

        Raises:
            ConfigurationError: if the model would take the place of a file, or of a folder with the run's own files.
        """
        self.trained = False
        place, run = Path(self.folder).resolve(), run_folder(trainer).resolve()
        if place.is_file() or place in (run, *run.parents, Path.cwd(), *Path.cwd().parents):
            raise ConfigurationError(
                f"expected a folder for the model alone in ExportFolder, got {self.folder or 'nothing'}, which is a "
                f"file, or has the run or the current folder within: name another, such as {run.parent / 'model'}"
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder.

        Raises:
            DivergenceError: if more steps were skipped than taken.
            ModelFolderError: if a weight is not finite; names the last checkpoint with finite ones.
        """
        self.trained = True
        if isinstance(pl_module, TrainingModule):
            self._write(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder of a run that went on from the checkpoint of its last step; it has no training to end.

        So a run that was killed between that checkpoint and the export leaves its model after all.

        Raises:
            ConfigurationError: if no step was ever taken, or the checkpoint is not at the run's end.
        """
        if self.trained or not isinstance(pl_module, TrainingModule):
            return
        # After an epoch that has ended, `current_epoch` is the next one.
        at_end = trainer.global_step == trainer.max_steps or trainer.current_epoch == trainer.max_epochs
        if not (at_end and trainer.global_step and trainer.max_epochs):
            raise ConfigurationError(
                f"no step was taken, so no model is written to {self.folder}: the run begins at step "
                f"{trainer.global_step}, in epoch {trainer.current_epoch}, and ends at --trainer.max_steps "
                f"{trainer.max_steps} or --trainer.max_epochs {trainer.max_epochs}, with batches of an epoch limited "
                f"by --trainer.limit_train_batches {trainer.limit_train_batches}: increase what is in the way"
            )
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        own = run_folder(trainer) / "model"  # all processes find it together
        # Where weights are sharded, all processes gather them together.
        if not trainer.is_global_zero and pl_module.sharded is None:
            return
        if getattr(trainer, "fast_dev_run", False):
            rank_zero_info(f"fast_dev_run: no model is written to {self.folder}")
            return
        callbacks = getattr(trainer, "callbacks", [])
        for callback in callbacks:
            if isinstance(callback, SkipNonFiniteSteps):
                callback.check(trainer)
        with exported_weights(trainer, pl_module):
            pipeline = pl_module.pipeline()
            if not trainer.is_global_zero:
                return
            try:
                check_finite(pipeline.components, self.folder)
            except ModelFolderError as error:
                raise ModelFolderError(f"{error}; {go_on_from(trainer, trainer.global_step)}") from None
            record_training(pipeline, pl_module, **_facts(trainer))
            moved = [(own, make_room(own))]
            if isinstance(pipeline, Clap):
                pipeline.save_pretrained(own)
            else:
                pipeline.save_pretrained(own, license=self.license)
        moved.append((Path(self.folder), publish(own, Path(self.folder))))
        for place, kept in moved:
            if kept is not None:
                rank_zero_info(f"the model that was at {place} is now {kept}")
        rank_zero_info(f"model folder written to {self.folder}")


def _facts(trainer: Trainer) -> dict[str, Any]:
    """What the run knows of the weights that are exported."""
    facts, guard = run_facts(trainer), keeper(trainer)
    if guard is not None and guard.selection.kept is not None:
        facts["weights"] = f"of the best validation in {facts['steps']} steps, by BestUnderConstraints"
        facts |= {"steps": guard.selection.kept["step"], "metrics": metric_values(guard.values)}
    return facts

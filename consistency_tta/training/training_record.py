"""What a run knows of itself, for the card of the model that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from torch import Tensor

from consistency_tta.components.clap_model import Clap
from consistency_tta.pipeline import TextToAudioPipeline

if TYPE_CHECKING:
    from consistency_tta.training.base import TrainingModule  # which stores these facts in checkpoints

#: In a checkpoint: the facts of :func:`run_facts`.
FACTS_KEY = "facts_for_the_card"


def record_training(pipeline: TextToAudioPipeline | Clap, module: TrainingModule, **facts: Any) -> None:
    """Add a stage to what a model's folder says of its trainings, behind those of the models it was trained from.

    A CLAP's folder has no card, so nothing is added to it.

    Args:
        pipeline: what the training made.
        module: the training.
        **facts: what it does not know itself, such as ``steps``; None is left out.
    """
    if isinstance(pipeline, Clap):
        return
    known = _settings(module) | {name: value for name, value in facts.items() if value is not None}
    pipeline.register_to_config(training=[*module.earlier_stages, known])


def data_facts(datamodule: Any) -> str | None:
    """Which data a run trains on, by the datamodule's class and the number of its clips; None if it has none."""
    if datamodule is None:
        return None
    dataset = getattr(datamodule, "train_dataset", None)
    return type(datamodule).__name__ + ("" if dataset is None else f", {len(dataset)} training clips")


def run_facts(trainer: Trainer) -> dict[str, Any]:
    """What a run knows of its present weights: steps, data, and the last values of validations."""
    return {
        "steps": trainer.global_step,
        "data": data_facts(getattr(trainer, "datamodule", None)),
        "metrics": metric_values(trainer.callback_metrics),
    }


def metric_values(values: Mapping[str, Tensor | float]) -> dict[str, float] | None:
    """The values of validations among those of a log; None if there are none."""
    return {name: float(value) for name, value in values.items() if name.startswith("val/")} or None


def _settings(module: TrainingModule) -> dict[str, Any]:
    """What the training's own settings say; paths are cut to their last parts."""
    settings: dict[str, Any] = {"training": type(module).__name__}
    if (objective := getattr(module, "objective", None)) is not None:
        settings["objective"] = type(objective).__name__
    for name in ("teacher", "model"):
        if isinstance(given := module.hparams.get(name), str):
            settings[name] = _short(given)
    student = module.hparams.get("student")
    if isinstance(student, Mapping) and isinstance(student.get("folder"), str):
        settings["start"] = _short(student["folder"])
    if weights := getattr(getattr(module, "losses", None), "weights", None):
        settings["losses"] = dict(weights)
    settings |= {"learning rate": module.optimization.learning_rate, "seed": module.seed}
    return settings


def _short(path: str) -> str:
    """A relative path or a hub id as it is; of an absolute path, which names a machine's folders, two parts."""
    parts = PurePath(path)
    return "/".join(parts.parts[-2:]) if parts.is_absolute() else path

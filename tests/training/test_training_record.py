"""What a run says of itself for the card."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from consistency_tta.components.clap_model import Clap
from consistency_tta.training.training_record import data_facts, metric_values, record_training, run_facts


class Folder:
    """Keeps what is registered."""

    def register_to_config(self, **settings: Any) -> None:
        self.settings = settings


def training(**more: Any) -> Any:
    settings = {"earlier_stages": ({"training": "LatentDiffusion"},), "hparams": {}, "seed": 5}
    return SimpleNamespace(**(settings | {"optimization": SimpleNamespace(learning_rate=1e-3)} | more))


def recorded(module: Any, **facts: Any) -> dict[str, Any]:
    """The last stage, behind those of the folder that it was trained from."""
    pipeline: Any = Folder()
    record_training(pipeline, module, **facts)
    [first, last] = pipeline.settings["training"]
    assert first == {"training": "LatentDiffusion"}
    return last


def test_a_stage_has_its_settings_and_facts_and_no_folders_of_the_machine() -> None:
    hparams = {"teacher": "/home/me/runs/teacher", "model": "hub/id", "student": {"folder": "runs/tiny/student"}}
    losses = SimpleNamespace(weights={"latent": 1.0, "mel": 0.5})
    assert recorded(training(hparams=hparams, losses=losses, objective=Folder()), steps=7, metrics=None) == {
        "training": "SimpleNamespace",
        "objective": "Folder",
        "teacher": "runs/teacher",
        "model": "hub/id",
        "start": "runs/tiny/student",
        "losses": {"latent": 1.0, "mel": 0.5},
        "learning rate": 1e-3,
        "seed": 5,
        "steps": 7,
    }


def test_what_a_training_does_not_have_is_left_out() -> None:
    hparams = {"teacher": torch.nn.Linear(1, 1), "student": {"folder": None}}  # given as objects from Python
    expected = {"training": "SimpleNamespace", "learning rate": 1e-3, "seed": 5}
    assert recorded(training(hparams=hparams)) == expected
    assert recorded(training(hparams={"student": "text"}, losses=SimpleNamespace(weights={}))) == expected


def test_nothing_is_added_to_a_clap() -> None:
    record_training(Clap.__new__(Clap), training())


def test_a_run_knows_its_steps_data_and_validations() -> None:
    data = SimpleNamespace(train_dataset=[0] * 24)
    metrics = {"val/loss": torch.tensor(0.5), "train/loss": torch.tensor(2.0), "val/clap": 1}
    run: Any = SimpleNamespace(global_step=3, datamodule=data, callback_metrics=metrics)
    expected = {"steps": 3, "data": "SimpleNamespace, 24 training clips", "metrics": {"val/loss": 0.5, "val/clap": 1.0}}
    assert run_facts(run) == expected
    assert metric_values({"train/loss": 1.0}) is None
    assert (data_facts(None), data_facts(Folder())) == (None, "Folder")

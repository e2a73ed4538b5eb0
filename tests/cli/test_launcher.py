"""Launcher and trainer must agree about the number of processes."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Trainer

from consistency_tta.cli.launcher import SIZES, check_launcher
from consistency_tta.cli.training_cli import TrainingCLI
from consistency_tta.runtime.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*SIZES, "LOCAL_WORLD_SIZE", "SLURM_JOB_NAME"]:
        monkeypatch.delenv(name, raising=False)


def trainer(devices: int = 1, num_nodes: int = 1) -> Any:
    """One whose Lightning takes notice of the launcher."""
    connector = SimpleNamespace(cluster_environment=SimpleNamespace(creates_processes_externally=True))
    return SimpleNamespace(num_devices=devices, num_nodes=num_nodes, _accelerator_connector=connector)


@pytest.mark.parametrize(
    ("variables", "devices", "num_nodes"),
    [
        ({"SLURM_NTASKS": "1"}, 2, 1),  # trained one process of one
        ({"SLURM_NTASKS": "4"}, 1, 1),  # four trainings of one
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, 1, 1),  # two trainings of one
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}, 2, 1),  # two machines
        ({"WORLD_SIZE": "2"}, 4, 1),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 1, 1),
        ({"PMI_SIZE": "8"}, 2, 2),
        ({"JSM_NAMESPACE_SIZE": "6"}, 2, 2),
        ({"WORLD_SIZE": "two"}, 2, 1),
    ],
)
def test_another_number_is_refused(
    variables: dict[str, str], devices: int, num_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    name, value = next(iter(variables.items()))
    if "LOCAL_WORLD_SIZE" in variables and devices * num_nodes == int(value):
        name, value = "LOCAL_WORLD_SIZE", variables["LOCAL_WORLD_SIZE"]
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        check_launcher(trainer(devices, num_nodes))


@pytest.mark.parametrize(
    ("variables", "devices", "num_nodes"),
    [
        ({}, 2, 2),  # Lightning starts them
        ({"SLURM_NTASKS": "4"}, 2, 2),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, 2, 2),
        ({"WORLD_SIZE": "4", "SLURM_NTASKS": "2"}, 2, 2),  # one torchrun for each machine, within SLURM
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}, 2, 1),  # `srun --pty bash`
        ({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, 4, 1),  # the shell of `salloc -n 4`
    ],
)
def test_the_same_number_is_taken(
    variables: dict[str, str], devices: int, num_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_launcher(trainer(devices, num_nodes))


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_NAME": "interactive"},
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"PMI_SIZE": "2"},
    ],
    ids=str,
)
def test_a_launcher_of_which_lightning_takes_no_notice_is_refused(
    variables: dict[str, str], devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Lightning's own trainer, which would train in each process, or start two in each."""
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    lightning = Trainer(accelerator="cpu", devices=devices, logger=False, barebones=True)
    assert not lightning._accelerator_connector.cluster_environment.creates_processes_externally
    with pytest.raises(ConfigurationError, match=f"{next(iter(variables))}=2"):
        check_launcher(lightning)
    monkeypatch.setenv("WORLD_SIZE", str(devices))  # of a torchrun in each task
    check_launcher(trainer(devices))


def test_the_command_line_refuses_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Lightning's own trainer, which sees one process where SLURM has one task."""
    for name, value in {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    cli = TrainingCLI.__new__(TrainingCLI)
    cli.subcommand = "fit"
    cli.config = {
        "fit": {"model": {"class_path": "Distillation"}, "trainer": {"default_root_dir": None, "strategy": "ddp"}}
    }

    def build(self: Any) -> None:
        self.trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, barebones=True)

    monkeypatch.setattr("lightning.pytorch.cli.LightningCLI.instantiate_classes", build)
    with pytest.raises(SystemExit, match="SLURM_NTASKS=1") as stopped:
        cli.instantiate_classes()
    assert len(str(stopped.value).splitlines()) == 2  # the error, and how to see where
    assert os.environ["SLURM_NTASKS"] == "1"

"""The number of processes, of which launcher and trainer must say the same."""

from __future__ import annotations

import os

from lightning.pytorch import Trainer

from consistency_tta.runtime.errors import ConfigurationError

#: Variables with the number of processes, by launcher: torchrun and Lightning's own, SLURM, Open MPI, MPICH, LSF.
SIZES = {
    "WORLD_SIZE": "torchrun",
    "SLURM_STEP_NUM_TASKS": "srun",
    "SLURM_NTASKS": "SLURM",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
    "JSM_NAMESPACE_SIZE": "LSF",
}
#: Names of SLURM jobs in which Lightning takes no notice of SLURM: those of shells, from which one process is started.
INTERACTIVE = ("bash", "interactive")
#: Where Lightning takes no notice of a launcher, and what to do, by launcher.
UNNOTICED = {
    "srun": "in jobs named bash or interactive: export SLURM_JOB_NAME=train before srun, or, in a shell that "
    "`srun --pty` opened, unset SLURM_STEP_NUM_TASKS",
    "mpirun": "without mpi4py: install it, or start one process",
}


def check_launcher(trainer: Trainer) -> None:
    """Raise if a launcher has started another number of processes than the trainer counts with, or unknown to it.

    Lightning would train alone in each process, start all of them again in each, or wait for processes that nobody
    starts. Where torchrun runs within SLURM, torchrun's number counts.

    Raises:
        ConfigurationError: names the launcher's number, the trainer's if it is known, and what to change.
    """
    variable = next(filter(is_set, SIZES), None)
    if variable is None:
        return
    counted = trainer.num_devices * trainer.num_nodes
    given = os.environ[variable]
    environment = trainer._accelerator_connector.cluster_environment
    if given != "1" and not environment.creates_processes_externally and SIZES[variable] in UNNOTICED:
        raise ConfigurationError(
            f"{SIZES[variable]} has started {variable}={given} processes, and each would train by itself, as Lightning "
            f"takes no notice of {SIZES[variable]} {UNNOTICED[SIZES[variable]]}"
        )
    if given != str(counted):
        raise ConfigurationError(
            f"{SIZES[variable]} says {variable}={given}, but the trainer counts with {counted} processes (devices "
            f"{trainer.num_devices} x num_nodes {trainer.num_nodes}): set --trainer.devices to the processes of each "
            f"machine and --trainer.num_nodes to the machines, start as many processes, or unset {variable}"
        )
    per_machine = os.environ.get("LOCAL_WORLD_SIZE", str(trainer.num_devices))
    if variable == "WORLD_SIZE" and per_machine != str(trainer.num_devices):
        raise ConfigurationError(
            f"torchrun has started LOCAL_WORLD_SIZE={per_machine} processes on this machine, but --trainer.devices is "
            f"{trainer.num_devices}: set both to the same number"
        )


def is_set(variable: str) -> bool:
    """Whether a launcher has set its number of processes for this one."""
    interactive = os.environ.get("SLURM_JOB_NAME") in INTERACTIVE
    if variable == "SLURM_NTASKS" and interactive:
        return False  # of the job, not of this step of it
    if variable == "SLURM_STEP_NUM_TASKS" and not (interactive and os.environ.get(variable, "1") != "1"):
        return False
    return variable in os.environ

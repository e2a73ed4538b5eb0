"""The number of processes, of which launcher and trainer must say the same."""

from __future__ import annotations

import os

from lightning.pytorch import Trainer

from consistency_tta.runtime.errors import ConfigurationError

#: Variables with the number of processes, by launcher: torchrun and Lightning's own, SLURM, Open MPI, MPICH, LSF.
SIZES = {
    "WORLD_SIZE": "torchrun",
    "SLURM_NTASKS": "SLURM",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
    "JSM_NAMESPACE_SIZE": "LSF",
}
#: Names of SLURM jobs in which Lightning, and so this check, takes no notice of SLURM.
INTERACTIVE = ("bash", "interactive")


def check_launcher(trainer: Trainer) -> None:
    """Raise if a launcher has started another number of processes than the trainer counts with.

    Lightning would train alone in each process, or wait for processes that nobody starts. Where torchrun runs within
    SLURM, torchrun's number counts.

    Raises:
        ConfigurationError: names both numbers and the options to change.
    """
    variable = next(filter(is_set, SIZES), None)
    if variable is None:
        return
    counted = trainer.num_devices * trainer.num_nodes
    given = os.environ[variable]
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
    if variable == "SLURM_NTASKS" and os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return False
    return variable in os.environ

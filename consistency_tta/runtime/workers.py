"""Processes that share out a command's work: those of a launcher, or those that the command starts itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import torch

from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.distributed import ProcessRank
from consistency_tta.runtime.errors import ConfigurationError

#: Signals that end a process that a command has started.
ENDING = (signal.SIGINT, signal.SIGTERM)


def check_processes(devices: int, device: str | None) -> ProcessRank:
    """The rank that a launcher gave this process; the only one without a launcher.

    Args:
        devices: processes that the command is to start.
        device: such as cuda or cpu; the best available if None.

    Raises:
        ConfigurationError: the number is below 1, the machine has fewer devices, or a launcher starts processes, too.
    """
    if devices < 1:
        raise ConfigurationError(f"expected devices of at least 1, got {devices}")
    place = ProcessRank.of_launcher()
    if place.world_size > 1 and devices > 1:
        raise ConfigurationError(
            f"expected devices=1 under a launcher, which starts the processes, in {place}, got devices={devices}"
        )
    kind = best_device(device).type
    if kind != "cpu" and devices > torch.accelerator.device_count():
        raise ConfigurationError(
            f"expected devices of at most {torch.accelerator.device_count()} {kind}, got {devices}"
        )
    return place


def run_in_processes(devices: int, device: str | None, work: Callable[..., None], *arguments: Any) -> None:
    """Call ``work(rank, *arguments)`` in new processes, each with a :class:`ProcessRank`, and wait for all of them.

    Where this process is interrupted, it ends them; Ctrl+C reaches them, too, and waits until they have been imported.

    Args:
        devices: how many.
        device: of their work; on the CPU they share the threads of this process.
        work: a function of a module.
        *arguments: what can be pickled.
    """
    threads = torch.get_num_threads()
    if best_device(device).type == "cpu":
        threads = max(1, threads // devices)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the new processes inherit
    try:
        context = torch.multiprocessing.spawn(_run, (devices, threads, work, arguments), nprocs=devices, join=False)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        while not context.join():
            pass
    except KeyboardInterrupt:
        for process in context.processes:
            process.terminate()
        raise


def device_of_process(name: str | None, place: ProcessRank) -> torch.device:
    """This process's own device of the requested kind."""
    device = best_device(name)
    if place.world_size == 1 or device.type == "cpu" or device.index is not None:
        return device
    return torch.device(device.type, place.local_rank % torch.accelerator.device_count())


def _run(rank: int, world_size: int, threads: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    for number in ENDING:
        signal.signal(number, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(threads)
    work(ProcessRank(rank, world_size, rank), *arguments)


def _end(*_: Any) -> None:
    """Leave this process in order, once: after the terminal's Ctrl+C the command sends SIGTERM, too."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt

"""Times of several tasks that take turns, so that what else the machine does burdens all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Medians over the rounds.

    Attributes:
        wall_seconds: that passed.
        cpu_seconds: of all threads of this process.
    """

    wall_seconds: float
    cpu_seconds: float

    def seconds(self, device: torch.device) -> float:
        """CPU seconds on a CPU, which other programs burden little; else those that passed."""
        return self.cpu_seconds if device.type == "cpu" else self.wall_seconds


def interleave(tasks: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, Timing]:
    """Time tasks in turns, A B C A B C, after one round that does not count.

    Args:
        tasks: by name.
        rounds: that count.
        device: where the tasks work; it is waited for.
    """
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            wall, cpu = time.perf_counter(), time.process_time()
            task()
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            if turn:
                measured[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Timing(median(wall for wall, _ in times), median(cpu for _, cpu in times))
        for name, times in measured.items()
    }

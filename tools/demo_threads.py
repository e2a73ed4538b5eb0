"""The number of threads that is faster on this machine now."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

#: Trials of each number of threads, and the seconds after which there are no more.
ROUNDS, ENOUGH_SECONDS = 3, 10.0


def choose_threads(trial: Callable[[], float]) -> str:
    """Keep torch's number of threads or set it to 1, whichever is faster, unless OMP_NUM_THREADS is set.

    On idle cores several threads are faster. Where other programs keep the cores busy, threads wait for each other.

    Args:
        trial: computes something, and returns the seconds that it took.

    Returns:
        The number, and why.
    """
    default = torch.get_num_threads()
    if os.environ.get("OMP_NUM_THREADS"):
        return f"{default}, by OMP_NUM_THREADS"
    if default == 1:
        return "1"
    torch.set_num_threads(1)  # which is never slow by much
    trial()  # the first takes longer
    seconds = {1: 0.0, default: 0.0}
    rounds = 0
    while rounds < ROUNDS and sum(seconds.values()) < ENOUGH_SECONDS:
        for threads in seconds:  # in turns, since other programs come and go
            torch.set_num_threads(threads)
            seconds[threads] += trial()
        rounds += 1
    fastest = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(fastest)
    one, more = (seconds[threads] / rounds for threads in (1, default))
    return f"{fastest}; a step of the teacher took {one:.2g} s with 1 and {more:.2g} s with {default}"

"""What the machine can do at most, and what memory a task takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from consistency_tta.runtime.allocator import return_freed_memory
from consistency_tta.storage.text import split_lines

#: Where Linux resets and reports the peak of this process's memory.
RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_tasks(
    dtype: torch.dtype, device: torch.device, size: int = 1024
) -> dict[str, tuple[Callable[[], Any], float]]:
    """A matrix product and a convolution that keep the multipliers busy, each with its floating-point operations.

    Args:
        dtype: of the operands.
        device: where they are computed.
        size: rows and columns of the matrices; the convolution has as many operations.
    """
    matrix = torch.randn(size, size, device=device).to(dtype)
    channels, side = max(8, size // 4), max(2, size // 24)
    picture = torch.randn(1, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    return {
        "matrix product": (lambda: matrix @ matrix, 2.0 * size**3),
        "convolution": (lambda: F.conv2d(picture, kernel, padding=1), 2.0 * 9 * channels**2 * side**2),
    }


def activation_bytes(task: Callable[[], Any], device: torch.device) -> int | None:
    """Memory that a task takes beyond what was there before; None where the system does not report it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        task()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not RESET.exists():
        return None
    return_freed_memory()
    try:
        RESET.write_text("5")
    except OSError:  # of a system that does not allow it
        return None
    before = _status("VmRSS")
    task()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    """Bytes of an entry such as ``VmHWM:  1234 kB``."""
    line = next(line for line in split_lines(STATUS.read_text()) if line.startswith(key))
    return int(line.split()[1]) << 10

"""Which machine and which versions made a result."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch


@cache
def machine() -> dict[str, str | int]:
    """Names of processor and accelerator, threads, the commit and torch's version."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").split("\n") if cpus.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    gpu = torch.cuda.get_device_name() if accelerator and accelerator.type == "cuda" else str(accelerator or "none")
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "accelerator": gpu,
        "torch": torch.__version__,
        "commit": commit(),
    }


def commit() -> str:
    """The checkout's commit, with ``+`` if files that git follows have changed; ``unknown`` outside of one."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=here, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

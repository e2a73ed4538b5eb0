"""Seconds of a training step by part."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.utils.hooks import RemovableHandle


class TimeStepParts(Callback):
    """Prints at a training's end how long its steps took, by part: medians, without the first steps.

        consistency-tta fit --config ... --trainer.callbacks+=consistency_tta.training.TimeStepParts

    Parts are data (from one step's end to the next step's beginning), teacher, target and student (their queries in the
    forward pass), backward, optimizer (clipping and averages included), and the rest: losses, text, codec. Without CUDA
    they are CPU seconds of this process, which change little where other programs run; those of data workers are not
    in them. With CUDA they are wall-clock seconds, and each part waits for the device, which makes steps slower.

    Args:
        skip: steps at the beginning that do not count.

    Attributes:
        seconds: by part, of each step that counts; ``step`` is the sum.
    """

    def __init__(self, skip: int = 2) -> None:
        self.skip = skip
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._current: dict[str, float] = defaultdict(float)
        self._hooks: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, and time the networks' queries."""
        networks = {
            "teacher": getattr(getattr(pl_module, "frozen", None), "teacher", None),
            "target": getattr(getattr(pl_module, "target", None), "module", None),
            "student": getattr(pl_module, "student", None),
        }
        for name, network in networks.items():
            if isinstance(network, nn.Module):
                self._hooks.append(network.register_forward_pre_hook(lambda *_: self._end("rest")))
                self._hooks.append(network.register_forward_hook(lambda *_, name=name: self._end(name)))
        self._last = self._now()

    def on_train_batch_start(self, *_: Any) -> None:
        """The data are there."""
        self._end("data")

    def on_before_backward(self, *_: Any) -> None:
        """The forward pass ends."""
        self._end("rest")

    def on_after_backward(self, *_: Any) -> None:
        """The backward pass ends."""
        self._end("backward")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The optimizer has stepped, if it was its turn, and averages are updated."""
        self._end("optimizer")
        if self.skip > 0:
            self.skip -= 1
        else:
            for name, seconds in self._current.items():
                self.seconds[name].append(seconds)
            self.seconds["step"].append(sum(self._current.values()))
        self._current.clear()

    def on_train_end(self, *_: Any) -> None:
        """Print, and leave the networks as they were."""
        while self._hooks:
            self._hooks.pop().remove()
        parts = ", ".join(f"{name} {median(seconds):.4f}" for name, seconds in self.seconds.items())
        rank_zero_info(f"seconds of {len(self.seconds['step'])} steps: {parts}")

    def _end(self, part: str) -> None:
        now = self._now()
        self._current[part] += now - self._last
        self._last = now

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

"""A training's own step, as Lightning takes it, with the peaks of its phases counted."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import DataLoader

from consistency_tta.contracts import Batch
from consistency_tta.planning.live_bytes import LiveBytes
from consistency_tta.planning.parts import all_tensors
from consistency_tta.planning.substitutes import apply_without_values
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.stop_signal import SaveOnSigterm

#: Settings of a recipe's trainer that change what a step keeps.
KEPT = ("gradient_clip_val", "gradient_clip_algorithm")


@dataclass(frozen=True)
class StepPeaks:
    """The most bytes alive at once in each phase of a step, weights and optimizer state included.

    Attributes:
        forward: losses included.
        backward: of all losses.
        optimizer: clipping, optimizer and averages.
        persistent: what is alive between two steps.
    """

    forward: int
    backward: int
    optimizer: int
    persistent: int

    @property
    def peak(self) -> int:
        """Of the whole step."""
        return max(self.forward, self.backward, self.optimizer)


class PhasePeaks(Callback):
    """Notes the peaks of each step's phases."""

    def __init__(self, live: LiveBytes) -> None:
        self.live = live
        self.steps: list[StepPeaks] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Forward begins; gradients of the step before are alive until the training's own hook, after this one."""
        self.noted = {"persistent": self.live.current}
        self.live.reset_peak()

    def on_before_backward(self, *_: Any) -> None:
        """Backward begins."""
        self._note("forward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        """The optimizer begins."""
        self._note("backward")

    def on_train_batch_end(self, *_: Any) -> None:
        """The step ends."""
        self._note("optimizer")
        self.steps.append(StepPeaks(**self.noted))

    def _note(self, phase: str) -> None:
        self.noted[phase] = self.live.peak
        self.live.reset_peak()


def counted_steps(
    module: TrainingModule,
    batches: Sequence[Batch],
    precision: str,
    settings: dict[str, Any],
    callbacks: Sequence[Callback] = (),
) -> list[StepPeaks]:
    """Take one step that is not counted, after which the optimizer's state is there, and one with each batch.

    Args:
        module: the training; with real tensors or ones without values.
        batches: of the counted steps.
        precision: Lightning's name.
        settings: the recipe's ``trainer``.
        callbacks: further ones.
    """
    live = LiveBytes()
    phases = PhasePeaks(live)
    with TemporaryDirectory() as folder, live:
        live.add(all_tensors(module))
        live.add(tensor for batch in batches for tensor in (batch.waveform, batch.moments) if tensor is not None)
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            precision=precision,  # type: ignore[arg-type]  # one of Lightning's names
            max_steps=1 + len(batches),
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            callbacks=[phases, *callbacks],
            **{name: settings[name] for name in KEPT if settings.get(name) is not None},
        )
        loader: DataLoader = DataLoader([batches[0], *batches], batch_size=None)  # type: ignore[arg-type]  # a list
        # There are no values to save when a signal stops the plan.
        kept = [callback for callback in module.configure_callbacks() if not isinstance(callback, SaveOnSigterm)]
        with (
            mock.patch.object(nn.Module, "_apply", _cast_alone),
            mock.patch.object(module, "configure_callbacks", return_value=kept),
        ):
            try:
                trainer.fit(module, train_dataloaders=loader)
            except SIGTERMException:
                raise SystemExit(128 + signal.SIGTERM) from None
    return phases.steps[1:]


def _cast_alone(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Cast a network, such as a teacher to bfloat16; leave the training where it is, which Lightning would move."""
    return module if isinstance(module, LightningModule) else apply_without_values(module, function, recurse)

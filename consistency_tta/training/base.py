"""What every training of this project does: reproducible draws, safe steps, optimizer, averages, export."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from consistency_tta.contracts import Batch, Learner, Optimization
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.kinds import require_kind
from consistency_tta.runtime.seed import seed_or_default
from consistency_tta.training.callbacks.held_folders import HoldCheckpointFolders
from consistency_tta.training.callbacks.loss_spikes import LossSpikes
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps, step_taken
from consistency_tta.training.callbacks.predictions import WriteSounds
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.stop_signal import SaveOnSigterm
from consistency_tta.training.checkpoint_file import AtomicCheckpointIO
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.fully_sharded import check_strategy
from consistency_tta.training.optimizer import (
    build_optimizer,
    can_fuse,
    clip_each,
    trainable_parameters,
)
from consistency_tta.training.placed_networks import PlacedNetworks
from consistency_tta.training.precision import check_precision
from consistency_tta.training.shards import average_whole
from consistency_tta.training.step_rng import VALIDATION_SEED, StepRNG
from consistency_tta.training.stored_training import StoredTraining
from consistency_tta.training.trainer_settings import check_settings


class TrainingModule(PlacedNetworks, StoredTraining, ABC):
    """Base of all trainings.

    A subclass names what is optimized (:meth:`trainable`, or :meth:`learners` where settings differ), which averages
    follow it (:meth:`emas`), computes a loss (:meth:`loss`), and builds what it exports (:meth:`pipeline`) and logs
    (:meth:`previews`).

    Args:
        optimization: optimizer and schedule.
        seed: of all random draws in training; that of ``seed_everything`` if None.
    """

    #: What is known of the trainings before this one, for the model's card.
    earlier_stages: Sequence[dict[str, Any]] = ()
    #: Of the configuration, where there is one; see :mod:`consistency_tta.training.job_checkpoint`.
    settings_digest: str = ""
    #: Where the model's sounds will end, in seconds, if its latents are padded; see ``TextToAudioPipeline``.
    audio_length_in_s: float | None = None

    def __init__(self, optimization: Optimization, seed: int | None) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        require_kind("optimization", optimization, Optimization)
        self.optimization = optimization
        self.seed = seed_or_default(seed)

    @abstractmethod
    def trainable(self) -> nn.Module:
        """The module whose parameters are optimized."""

    @abstractmethod
    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """The scalar to minimise; logs its parts."""

    @abstractmethod
    def pipeline(self) -> TextToAudioPipeline:
        """The model as it stands, averaged where there is an average; what ``export`` writes."""

    @abstractmethod
    def previews(self, batch: Batch) -> list[Preview]:
        """What it sounds and looks like now, for the clips of a batch."""

    def references(self, batch: Batch, teacher: bool = True) -> dict[str, Tensor]:
        """Sounds to compare the previews with, by name, such as ``recording``; they do not change during a training.

        Args:
            batch: of which :meth:`previews` are made.
            teacher: whether to sample the teacher, where there is one.

        Returns:
            Waveforms (B, samples) or (B, channels, samples).
        """
        return {} if batch.waveform is None else {"recording": batch.waveform}

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Of all sounds, in Hz."""

    def learners(self) -> dict[str, Learner]:
        """The networks that are optimized, by name."""
        return {"model": Learner(self.trainable())}

    def active(self, step: int) -> set[str]:
        """Which of the :meth:`learners` the optimizer step ``step``, counted from 0, updates."""
        return set(self.learners())

    def idle_parameters(self) -> list[nn.Parameter]:
        """Parameters that the present optimizer step does not update."""
        learners, active = self.learners(), self.active(self.trainer.global_step)
        return [p for name in learners.keys() - active for p in trainable_parameters(learners[name].module)]

    def ema_source(self) -> nn.Module:
        """The module that the averages follow: all that is trained."""
        return self.trainable()

    def emas(self) -> Iterable[ExponentialMovingAverage]:
        """Averages to update after each step."""
        return ()

    def rng(self, batch_idx: int) -> StepRNG:
        """The draws of a batch; the same in every validation, so that its curves can be compared."""
        training = self.trainer.training
        return StepRNG(
            self.seed if training else VALIDATION_SEED,
            self.current_epoch if training else 0,
            batch_idx,
            self.device,
            self.global_rank,
            self.trainer.world_size,
        )

    def setup(self, stage: str) -> None:
        """Write checkpoints whole; check precision, strategy and sample rates before any sound is read."""
        check_precision(self.trainer)
        check_settings(self.trainer)
        check_strategy(self.trainer.strategy)
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            self.trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        rate = getattr(getattr(self.trainer, "datamodule", None), "sample_rate", self.sample_rate)
        if rate != self.sample_rate:
            raise ValueError(f"the model works at {self.sample_rate} Hz, the datamodule at {rate}: set its sample_rate")
        super().setup(stage)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Free the gradients of the step before, and seed the global generators.

        Lightning would keep the gradients until the backward pass, next to all activations of the forward pass. Dropout
        and other people's losses draw from the global generators.
        """
        if batch_idx % self.trainer.accumulate_grad_batches == 0:  # as Lightning: not within an accumulation
            for optimizer in self.trainer.optimizers:
                optimizer.zero_grad(set_to_none=True)
        seed = self.rng(batch_idx).entropy + self.global_rank
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # the global one

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; a loss that is not finite makes every gradient NaN, so that all ranks skip the step together.

        Raises:
            ConfigurationError: if the loss has no gradient, since it was detached or computed without, or the batch is
                not of a datamodule of this project.
        """
        require_kind("a batch, which datamodules make", batch, Batch)
        try:
            loss = self.loss(batch, self.rng(batch_idx))
        except StopIteration as error:
            raise ConfigurationError(
                "expected a loss and an objective that compute each batch, got StopIteration of one, at which "
                "Lightning would end the epoch: do not read iterators that end"
            ) from error
        if self.trainer.world_size > 1 and self.sharded is None:
            # DistributedDataParallel waits for a gradient of every parameter, and not every step reaches all networks
            # that learn beside the main one.
            others = [learner for name, learner in self.learners().items() if name not in ("model", "student")]
            parameters = [p for learner in others for p in trainable_parameters(learner.module)]
            unreached = [*parameters, *self.idle_parameters()]
            loss = loss + sum((0 * parameter.sum() for parameter in unreached), torch.zeros_like(loss))
        if not loss.requires_grad:
            raise ConfigurationError(
                "expected a loss with a gradient, got one that depends on nothing that is trained: look for detach(), "
                "no_grad() or .item() in its loss plugins"
            )
        return loss * torch.where(loss.isfinite(), 1.0, torch.nan)

    def on_after_backward(self) -> None:
        """Drop gradients of networks that this step does not update: they are neither checked, clipped nor taken.

        Where networks are sharded, average those gradients over the processes that no sharded network averages.
        """
        for parameter in self.idle_parameters():
            parameter.grad = None
        if self.sharded is not None:
            average_whole(p for learner in self.learners().values() for p in trainable_parameters(learner.module))

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of each network by itself, as Lightning does where there is one."""
        if gradient_clip_val:
            clip_each(optimizer, gradient_clip_val, gradient_clip_algorithm or "norm")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss of held-out clips, with the same draws every time."""
        self.loss(batch, self.rng(batch_idx))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As :meth:`validation_step`."""
        self.validation_step(batch, batch_idx)

    def on_predict_start(self) -> None:
        """Build the model once: merging LoRA copies the whole network."""
        self.predictor = self.pipeline()

    def on_predict_end(self) -> None:
        """Free the copy."""
        del self.predictor

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Waveforms (B, samples) for a batch's captions; :class:`WriteSounds` writes them."""
        generator = torch.Generator().manual_seed(self.rng(batch_idx).entropy + self.global_rank)
        return self.predictor(batch.captions, generator=generator).waveform

    def log_losses(self, losses: dict[str, Tensor], batch_size: int) -> None:
        """Log scalars as ``train/<name>`` or ``val/<name>``, averaged over processes; ``loss`` in the progress bar."""
        stage = "train" if self.trainer.training else "test" if self.trainer.testing else "val"
        for name, value in losses.items():
            self.log(f"{stage}/{name}", value, prog_bar=name == "loss", sync_dist=True, batch_size=batch_size)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the averages, unless the step was skipped."""
        super().optimizer_step(*args, **kwargs)
        if any(parameter.grad is not None for parameter in self.ema_source().parameters()):
            self.update_averages(step_taken(self.trainer.optimizers[0]))

    def update_averages(self, taken: Tensor | None) -> None:
        """Update all averages after a step.

        Args:
            taken: see :meth:`ExponentialMovingAverage.update`.
        """
        for average in self.emas():
            average.update(self.ema_source(), taken)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up for all :meth:`learners`, stepped per optimizer step."""
        steps = self.trainer.estimated_stepping_batches
        fused = can_fuse(self.device, str(self.trainer.precision))
        built = build_optimizer(self.learners(), self.optimization, None if math.isinf(steps) else int(steps), fused)
        return cast(OptimizerLRScheduler, built)

    def configure_callbacks(self) -> list[Callback]:
        """Skip steps that are not finite, warn of losses that jump, save a checkpoint when the run is stopped, write
        what ``predict`` samples, keep other runs out of the folders of checkpoints.
        """
        skip = SkipNonFiniteSteps(self.optimization.max_skipped_in_a_row)
        return [skip, LossSpikes(), SaveOnSigterm(), WriteSounds(), HoldCheckpointFolders()]

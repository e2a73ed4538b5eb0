"""What every training of this project does: optimizer, averages, reproducible rng, safe steps, export."""

from __future__ import annotations

import math
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from consistency_tta.components.blocked_attention import attend_in_blocks, faster_in_blocks
from consistency_tta.contracts import Batch, Learner, Optimization
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.runtime.kinds import require_kind
from consistency_tta.runtime.shared_copies import separate_memory, sharing_copies
from consistency_tta.training.callbacks.loss_spikes import LossSpikes
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps, step_taken
from consistency_tta.training.callbacks.predictions import WriteSounds
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.stop_signal import SaveOnSigterm
from consistency_tta.training.checkpoint_file import FORMAT, FORMAT_KEY, AtomicCheckpointIO, check_finite_weights
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.fully_sharded import FullySharded, check_strategy
from consistency_tta.training.loss_states import counters, restore_loss_states, store_loss_states, warn_of_counters
from consistency_tta.training.optimizer import (
    build_optimizer,
    can_fuse,
    check_loaded_state,
    clip_each,
    trainable_parameters,
)
from consistency_tta.training.position import accumulated_batches, restore_position, store_position
from consistency_tta.training.precision import check_precision
from consistency_tta.training.sharding import ShardedNetworks
from consistency_tta.training.shards import average_whole, local
from consistency_tta.training.step_rng import VALIDATION_SEED, StepRNG
from consistency_tta.training.trainer_settings import check_settings
from consistency_tta.training.training_record import FACTS_KEY, run_facts
from consistency_tta.training.weighted_losses import WeightedLosses

M = TypeVar("M", bound=nn.Module)


class TrainingModule(LightningModule, ABC):
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
    #: Where the model's sounds will end, in seconds, if its latents are padded; see ``TextToAudioPipeline``.
    audio_length_in_s: float | None = None

    def __init__(self, optimization: Optimization, seed: int | None) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        require_kind("optimization", optimization, Optimization)
        self.optimization = optimization
        #: Numbers that losses kept when training began, until they have been compared.
        self.counters: dict[str, int | float] = {}
        #: The networks that are sharded over processes, under the strategy ``fsdp2``.
        self.sharded: ShardedNetworks | None = None
        self.copies_share = sharing_copies()
        # Where Lightning's seed_everything leaves its seed, for the processes it starts as well.
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed

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
        if str(self.trainer.precision) == "bf16-mixed" and self.trainer.strategy.root_device.type == "cpu":
            self._attend_in_blocks()

    def _attend_in_blocks(self) -> None:
        """Compute long attention in blocks where that is faster, also that of averages and frozen networks."""
        if faster_in_blocks():
            for network in (self, *self._held()):
                attend_in_blocks(network)

    def configure_model(self) -> None:
        """Shard the networks over the processes, if the strategy is ``fsdp2``."""
        strategy = None if self._trainer is None else self.trainer.strategy
        if isinstance(strategy, FullySharded) and self.sharded is None:
            self.sharded = ShardedNetworks(self, strategy.mesh, strategy.shard_frozen)
            self._separate_copies()
            strategy.broadcast_weights(self)
        self._separate_copies()

    def _separate_copies(self) -> None:
        """Give what is trained memory of its own, where the training was built with copies that share it."""
        if self.copies_share:
            frozen = (parameter for part in self._held() for parameter in part.parameters())
            separate_memory(*([p for p in parameters if local(p) is p] for parameters in (self.parameters(), frozen)))
            self.copies_share = False

    def _held(self) -> list[nn.Module]:
        """The networks that are used and not trained."""
        return [part for module in self.modules() if isinstance(module, Frozen) for part in module.held.values()]

    def whole(self, module: M) -> M:
        """The module; where its weights are sharded a copy with whole ones, for which all processes call together."""
        return module if self.sharded is None else cast(M, self.sharded.gathered(module))

    def on_train_start(self) -> None:
        """Check the optimizer's state of a run that is resumed; note the numbers that losses keep."""
        if isinstance(losses := getattr(self, "losses", None), WeightedLosses):
            self.counters = counters(losses)
        # Lightning asks a GradientAccumulationScheduler where an epoch begins, not where a run enters one.
        self.trainer.accumulate_grad_batches = accumulated_batches(self.trainer, self.current_epoch)
        if self.trainer.ckpt_path and self.trainer.global_step:
            for optimizer in self.trainer.optimizers:
                check_loaded_state(optimizer, self.trainer.ckpt_path)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the global generators as well: dropout and other people's losses draw from them."""
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
        return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)

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
        what ``predict`` samples.
        """
        skip = SkipNonFiniteSteps(self.optimization.max_skipped_in_a_row)
        return [skip, LossSpikes(), SaveOnSigterm(), WriteSounds()]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the format, the position in training, from which a resumed run goes on exactly, and facts for cards."""
        checkpoint[FORMAT_KEY] = FORMAT
        checkpoint[FACTS_KEY] = run_facts(self.trainer)
        store_position(checkpoint, self.trainer)
        if isinstance(losses := getattr(self, "losses", None), WeightedLosses):
            store_loss_states(checkpoint, losses)
            warn_of_counters(self.counters, losses)
            self.counters = {}  # once

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the counters of a run that is resumed, and the state of losses without parameters."""
        if isinstance(losses := getattr(self, "losses", None), WeightedLosses):
            restore_loss_states(checkpoint, losses)
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_finite_weights(checkpoint["state_dict"], self.trainer.ckpt_path)
            restore_position(checkpoint, self.trainer)

    def _set_hparams(self, hp: Any) -> None:
        """Keep only plain hyperparameters.

        Under the command line all of them are (they are the YAML). Objects passed from Python are not: Lightning would
        keep a deep copy of each network, and checkpoints could not be loaded with ``weights_only=True``. They are given
        again to ``load_from_checkpoint``.
        """
        super()._set_hparams({name: value for name, value in dict(hp).items() if _is_plain(value)})


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)

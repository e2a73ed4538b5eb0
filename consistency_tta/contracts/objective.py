"""Objectives: what one training step computes with teacher and student.

    (Step, Networks) --Objective--> Prediction --losses--> scalar

An objective is one file: it draws times and noise, queries the networks, and returns the student's latents and the
latents they should equal. ``Distillation`` does everything else: it encodes, decodes for losses of sound, weights and
sums the losses, optimizes, averages, logs and saves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from consistency_tta.contracts.data import Batch, Conditioning
from consistency_tta.contracts.diffusion import Denoiser, Schedule, Weighting
from consistency_tta.contracts.optimization import Learner
from consistency_tta.runtime.errors import ShapeError


class Randomness(Protocol):
    """Random draws that are a function of the run's seed and the position in training, alike on every process.

    Every process must make the same calls in the same order. ``consistency_tta.training.step_rng.StepRNG`` is one.
    """

    def normal_like(self, example: Tensor) -> Tensor:
        """Standard normal numbers on the device, one row per row of ``example`` (B, ...)."""

    def uniform(self, batch_size: int) -> Tensor:
        """(B,) in [0, 1), on the CPU."""

    def integers(self, high: int, batch_size: int) -> Tensor:
        """(B,) int64 in [0, high), on the CPU."""

    def to_device(self, drawn: Tensor) -> Tensor:
        """A small tensor from the CPU to the device, without waiting for what the device is doing."""


@dataclass
class Networks:
    """The networks that an objective queries.

    Attributes:
        student: in training with gradients; outside of it its average.
        teacher: frozen, guided by ``Conditioning.guidance_scale``; None where the objective needs none.
        target: the student's moving average; None where the objective declares none.
    """

    student: Denoiser
    teacher: Denoiser | None = None
    target: Denoiser | None = None


@dataclass(frozen=True)
class Generation:
    """What the student generates in one query.

    Attributes:
        epsilon: the noise (B, C, *) that it starts from.
        latent: (B, C, *), with gradients if the student learns at this step.
        t: (B,), the top time.
    """

    epsilon: Tensor
    latent: Tensor
    t: Tensor


@dataclass
class Step:
    """What one step of training or validation works on.

    Conditioning is drawn when it is first read, so an objective decides the order of its draws. So is what the student
    generates, which all objectives of a step share.

    Attributes:
        batch: what the datamodule handed over.
        clean_latent: z_0 (B, C, *).
        schedule: of teacher and student.
        rng: the step's random draws.
        global_step: optimizer steps taken so far.
        training: False in validation, which must use settings that do not change as training goes on.
        active: which networks this step updates, as :meth:`Objective.active` names them; all in validation.
        condition: computes the conditioning, w included.
        add_noise: (z_0, epsilon, t) -> z_t, all (B, C, *) but t (B,); at the top time pure noise, since that is what
            generation starts from.
        flow_map: whether the student reads a second time.
        sharded: whether networks are sharded over processes, which then must query them equally often: see
            :meth:`queried`.
    """

    batch: Batch
    clean_latent: Tensor
    schedule: Schedule
    rng: Randomness
    global_step: int
    training: bool
    active: frozenset[str]
    condition: Callable[[], Conditioning] = field(repr=False)
    add_noise: Callable[[Tensor, Tensor, Tensor], Tensor] = field(repr=False)
    flow_map: bool = False
    sharded: bool = False
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._shared.setdefault("student learns", "student" in self.active)

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def conditioning(self) -> Conditioning:
        """Of the batch's captions, with w drawn from the student's range."""
        if "conditioning" not in self._shared:
            self._shared["conditioning"] = self.condition()
        return self._shared["conditioning"]

    @property
    def guidance_scale(self) -> Tensor:
        """W (B,)."""
        assert self.conditioning.guidance_scale is not None  # a student reads it
        return self.conditioning.guidance_scale

    def queried(self, rows: Tensor) -> Tensor:
        """Positions of the examples to query a network with, where only ``rows`` need it.

        A sharded network gathers its weights from all processes at each query, and waits for those that make none. So
        where networks are sharded, and no row of this process needs a query, it is made with the first row:

            rows = step.queried(needed)
            if len(rows):
                answer = network(z_t[rows], t[rows], step.conditioning.rows(rows))
                latent = latent.index_copy(0, needed, answer[: len(needed)])

        Args:
            rows: (B',) int64 on any device; may be empty.

        Returns:
            ``rows``, or (1,) zeros instead of none.
        """
        return rows.new_zeros(1) if self.sharded and not len(rows) else rows

    def generate(self, networks: Networks) -> Generation:
        """What the student generates for the batch in one query; computed once a step, for all that read it."""
        if "generation" not in self._shared:
            conditioning = self.conditioning
            epsilon = self.rng.normal_like(self.clean_latent)
            top = epsilon.new_full((len(self),), float(self.schedule.num_train_timesteps))
            second_time = {"s": torch.zeros_like(top)} if self.flow_map else {}
            with torch.set_grad_enabled(self._shared["student learns"] and torch.is_grad_enabled()):
                z_t = self.add_noise(epsilon, epsilon, top)
                latent = networks.student(z_t, top, conditioning, **second_time)
            self._shared["generation"] = Generation(epsilon, latent, top)
        return self._shared["generation"]

    def for_objective(self, active: frozenset[str]) -> Step:
        """The same step for one objective of several, which updates other networks; draws and samples are shared."""
        return replace(self, active=active)


@dataclass
class Prediction:
    """What an objective returns: latents for the loss plugins to compare, losses of its own, or both.

    Attributes:
        student_latent: (B, C, *), with gradients; None in a step that does not update the student.
        target_latent: what it should equal (B, C, *), without gradients.
        clean_latent: z_0 (B, C, *) of this step; an objective may have replaced some of the data's.
        t, s: (B,), t >= s; the target was found at s.
        losses: further losses (B,) of the objective itself by name, such as a fake score's; added as they are.
        latent_weight: of all that the loss plugins make of the latents.
        latents_optional: whether the losses above suffice where no loss plugin compares the latents, or where another
            objective's are compared.
        weighting: of losses with ``noise_weighted``; that of the objective if None.
    """

    student_latent: Tensor | None = None
    target_latent: Tensor | None = None
    clean_latent: Tensor | None = None
    t: Tensor | None = None
    s: Tensor | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    latent_weight: float = 1.0
    latents_optional: bool = False
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        latents = (self.student_latent, self.target_latent, self.clean_latent, self.t, self.s)
        given = [value is not None for value in latents]
        if any(given) != all(given) or not (all(given) or self.losses):
            raise ShapeError(
                "expected student_latent, target_latent, clean_latent, t and s together, or losses alone, got "
                f"{sum(given)} of the five and losses {sorted(self.losses)}"
            )


class Objective(nn.Module, ABC):
    """Maps a step and the networks to a prediction; see the module's docstring.

    Query each network equally often in every process, whatever its rows need: :meth:`Step.queried` helps.
    Networks that learn along with the student are made in :meth:`build`, registered as attributes, and named in
    :meth:`learners`; checkpoints then hold them. In :meth:`forward` detach what a network must not learn from.

    Attributes:
        needs_teacher: whether a frozen guided teacher is queried; else none is kept in memory.
        one_query: whether the student makes a sound in one query; else its probability-flow ODE is solved.
        second_time: whether the student reads a second time s, as flow maps do.
        target_ema_decay: of the moving average that serves as target; None for no target.
        weighting: of losses with ``noise_weighted``; None, or left out, weights all noise levels alike.
    """

    needs_teacher: bool = True
    one_query: bool = True
    second_time: bool = False
    target_ema_decay: float | None = None
    weighting: Weighting | None  # without a default here, which would hide the module that an instance registers

    def build(self, networks: Networks, schedule: Schedule) -> None:  # nothing to build by default
        """Prepare: called once, before training, with all networks on the CPU."""

    @abstractmethod
    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One step's prediction."""

    def learners(self) -> dict[str, Learner]:
        """Networks of the objective that are optimized along with the student, by name."""
        return {}

    def active(self, step: int) -> set[str]:
        """Which networks the optimizer step ``step`` updates: names of :meth:`learners`, and ``student``.

        Those left out keep weights and optimizer state; their gradients are dropped.
        """
        return {"student", *self.learners()}

    def sampler(self) -> Any:
        """The sampler of the student's model folder, a ``consistency_tta.diffusion.sampler.Sampler``.

        None, the default, for the one that goes with ``one_query`` and ``second_time``.
        """
        return None

    def metrics(self, step: Step, networks: Networks) -> dict[str, Tensor]:
        """Scalars that validation logs of its first batch."""
        return {}

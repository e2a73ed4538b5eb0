"""How networks are optimized: settings of AdamW, and the networks that have some of their own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from consistency_tta.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class FinalPhase:
    """The end of a training, with a learning rate of its own: there the schedule begins again.

    Attributes:
        begin: optimizer steps before it.
        learning_rate: after its warm-up.
        warmup_steps: steps of linear warm-up.
    """

    begin: int
    learning_rate: float
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.begin < 1:
            raise ConfigurationError(f"expected a final phase to begin at step 1 or later, got begin={self.begin}")


@dataclass(frozen=True)
class Optimization:
    """AdamW with warm-up.

    Attributes:
        learning_rate: after warm-up.
        weight_decay: decoupled.
        betas: of AdamW.
        warmup_steps: steps of linear warm-up.
        schedule: what comes after: ``constant_with_warmup``, ``cosine``, ``linear`` ... (see
            ``diffusers.optimization``).
        max_skipped_in_a_row: steps with gradients that are not finite before training stops.
        final_phase: where the schedule, which then ends there, begins again with another learning rate; null for
            nowhere.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 0
    schedule: str = "constant_with_warmup"
    max_skipped_in_a_row: int = 20
    final_phase: FinalPhase | None = None

    def __post_init__(self) -> None:
        from diffusers.optimization import SchedulerType  # here: importing the contracts must stay cheap

        names = [scheduler.value for scheduler in SchedulerType]
        if self.schedule not in names:
            raise ConfigurationError(f"expected a schedule among {', '.join(names)}, got {self.schedule!r}")
        for name in ("learning_rate", "weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas):  # of groups of parameters AdamW checks none
            raise ConfigurationError(f"expected betas of at least 0 and below 1, got {self.betas}")
        if self.final_phase is not None and not self.learning_rate > 0:
            raise ConfigurationError(f"expected a learning_rate above 0 with a final_phase, got {self.learning_rate}")


@dataclass(frozen=True)
class Learner:
    """A network that is optimized along with the student, such as a fake-score network or a discriminator.

    Attributes:
        module: whose parameters are optimized.
        optimization: by which settings; those of the student if None. Warm-up and schedule count the optimizer steps
            of the run, of which the network may take only some.
    """

    module: nn.Module
    optimization: Optimization | None = None

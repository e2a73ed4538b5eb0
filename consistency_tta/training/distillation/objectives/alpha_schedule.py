"""The curriculum of alpha-Flow: from trajectory flow matching to MeanFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from consistency_tta.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class AlphaSchedule:
    """Alpha falls from 1 to 0 along a sigmoid of the optimizer steps.

        alpha(k) = 1 / (1 + exp(sharpness * ((k - begin) / (end - begin) - 1/2)))

    Above 1 - ``clamp`` it is 1, below ``clamp`` it is 0: very small finite differences are inaccurate, and MeanFlow's
    derivative takes over. alpha is a function of the optimizer step alone, so that a resumed run agrees.

    Source: Zhang et al., "AlphaFlow: Understanding and Improving MeanFlow Models", 2025,
    https://arxiv.org/abs/2510.20771; sharpness 25 and clamp 0.005 are those of the authors' configurations,
    https://github.com/snap-research/alphaflow.

    Attributes:
        begin, end: optimizer steps between which alpha falls, 0 <= begin < end.
        sharpness: how fast it falls around the middle.
        clamp: in [0, 0.5).
    """

    end: int
    begin: int = 0
    sharpness: float = 25.0
    clamp: float = 0.005

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end:
            raise ConfigurationError(f"expected 0 <= begin < end of an AlphaSchedule, got {self.begin} and {self.end}")
        if self.sharpness <= 0 or not 0 <= self.clamp < 0.5:
            raise ConfigurationError(
                f"expected sharpness > 0 and clamp in [0, 0.5), got {self.sharpness} and {self.clamp}"
            )

    def __call__(self, step: int) -> float:
        """Alpha in [0, 1] at an optimizer step, counted from 0."""
        progress = (min(max(step, self.begin), self.end) - self.begin) / (self.end - self.begin)
        alpha = 1 / (1 + math.exp(self.sharpness * (progress - 0.5)))
        if step >= self.end or alpha < self.clamp:
            return 0.0
        return 1.0 if alpha > 1 - self.clamp else alpha

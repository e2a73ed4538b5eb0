"""How finely the times of distillation are divided, as training goes on."""

from __future__ import annotations

from dataclasses import dataclass

from consistency_tta.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class DiscretizationSchedule:
    """N doubles every so many optimizer steps, from ``start`` to ``end``; or is halved, if ``end`` is the smaller.

    Few steps are learnt fast, but are far from the teacher's trajectory; many are near it, but hand errors on from step
    to step. N is a function of the optimizer step alone, so that a resumed run and all processes agree.

    Sources: Song and Dhariwal, "Improved Techniques for Training Consistency Models", 2024,
    https://arxiv.org/abs/2310.14189, section 3.4: N(k) = min(s_0 2^floor(k / K'), s_1) + 1 times, which are one more
    than steps; Geng et al., "Consistency Models Made Easy", 2024, https://arxiv.org/abs/2406.14548, who
    tighten the discretisation like this.

    Attributes:
        start: N at first, at least 2.
        end: N at last, at least 2; validation uses it all the time.
        every: optimizer steps between two doublings, at least 1.
    """

    start: int
    end: int
    every: int

    def __post_init__(self) -> None:
        least = min(self.start, self.end)
        if least < 2:
            raise ConfigurationError(
                f"expected num_discretization_steps of at least 2, got {least}: "
                "with a single step the student would learn the mean of all recordings"
            )
        if self.every < 1:
            raise ConfigurationError(
                f"expected num_steps to change every 1 optimizer step or more, got every={self.every}"
            )

    def __call__(self, step: int) -> int:
        """N at an optimizer step, counted from 0."""
        changes = step // self.every
        if self.end < self.start:
            return max(self.start >> changes, self.end)
        # No number of doublings above this can matter, and 2 to the power of a million is a number, too.
        return min(self.start << min(changes, self.end.bit_length()), self.end)

    def all(self) -> list[int]:
        """Every N, in order."""
        found = [self.start]
        while found[-1] != self.end:
            found.append(self(len(found) * self.every))
        return found

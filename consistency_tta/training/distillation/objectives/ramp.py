"""A number that changes once during training, such as an objective's weight or a share of guidance."""

from __future__ import annotations

from dataclasses import dataclass

from consistency_tta.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class Ramp:
    """A number that changes linearly with the optimizer steps, of which it is a function alone.

    Attributes:
        start: the value up to step ``begin``.
        end: the value from step ``begin + steps`` on; validation always uses it.
        steps: optimizer steps from one to the other, at least 1.
        begin: optimizer steps before it changes.
    """

    start: float
    end: float
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.begin < 0:
            raise ConfigurationError(f"expected steps >= 1 and begin >= 0 of a Ramp, got {self.steps} and {self.begin}")

    def __call__(self, step: int) -> float:
        """The value at an optimizer step, counted from 0."""
        share = min(max((step - self.begin) / self.steps, 0.0), 1.0)
        return self.start + share * (self.end - self.start)


def at_step(value: float | Ramp, step: int, training: bool = True) -> float:
    """A number or a ramp's value at an optimizer step; in validation the last one, so that curves can be compared."""
    if not isinstance(value, Ramp):
        return float(value)
    return value(step) if training else value.end

"""The best of several validations among those that satisfy constraints: the decision, without any training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.suggest import nearest


@dataclass(frozen=True)
class Constraint:
    """Bounds of a validation metric.

    Attributes:
        at_least: lowest value allowed; None for any.
        at_most: highest value allowed; None for any.
        of: what the bounds are multiplied by: ``teacher`` is the teacher's value of the metric, ``start`` the value of
            the model before training, any other text the value of the model of that folder or bundled name. None for
            bounds as they are.

    Raises:
        ConfigurationError: there is no bound, or the lowest value is above the highest.
    """

    at_least: float | None = None
    at_most: float | None = None
    of: str | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ConfigurationError("expected at_least or at_most of a constraint, got neither")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ConfigurationError(f"expected at_least <= at_most, got {self.at_least} and {self.at_most}")

    def violation(self, value: float, reference: float | None = None) -> str | None:
        """Why a value is refused, such as ``2.01 is not >= 2.518 = 0.95 x 2.65 of teacher``; None within the bounds.

        Args:
            value: of the metric; NaN is always refused.
            reference: the value that the bounds are multiplied by; None where they are taken as they are.
        """
        scale = 1.0 if reference is None else reference
        for bound, sign in ((self.at_least, ">="), (self.at_most, "<=")):
            if bound is None:
                continue
            limit = bound * scale
            if not (value >= limit if sign == ">=" else value <= limit):
                source = "" if reference is None else f" = {bound:g} x {reference:.4g} of {self.of}"
                return f"{value:.4g} is not {sign} {limit:.4g}{source}"
        return None


@dataclass
class ConstrainedSelection:
    """Keeps the validation with the best value of one metric among those whose constraints hold.

    Of equal values the first is kept. A value that is NaN is never kept.

    Attributes:
        monitor: name of the metric that is compared.
        maximise: whether more of it is better.
        constraints: by the names of the metrics that they bound.
        references: what relative bounds are multiplied by, by the same names.
        history: of each validation ``step``, ``value`` and, by metric, ``violations``.
        kept: the entry of the best one.
    """

    monitor: str
    maximise: bool
    constraints: Mapping[str, Constraint]
    references: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Any] | None = None

    def consider(self, step: int, values: Mapping[str, float]) -> bool:
        """Add a validation, and return whether it is the best so far.

        Args:
            step: optimizer steps taken.
            values: of all metrics, by name.

        Raises:
            ConfigurationError: the monitored metric or one with a constraint is missing.
        """
        for name in (self.monitor, *self.constraints):
            if name not in values:
                near = nearest(name, list(values))
                raise ConfigurationError(
                    f"expected the metric {name!r} in the log of validations, got {', '.join(sorted(values)) or 'none'}"
                    + (f"; did you mean {near!r}?" if near else "")
                )
        value = values[self.monitor]
        found = {
            name: constraint.violation(values[name], self.references.get(name))
            for name, constraint in self.constraints.items()
        }
        violations = {name: reason for name, reason in found.items() if reason is not None}
        self.history.append({"step": step, "value": value, "violations": violations})
        if violations or math.isnan(value) or not self._better(value):
            return False
        self.kept = self.history[-1]
        return True

    def _better(self, value: float) -> bool:
        if self.kept is None:
            return True
        return value > self.kept["value"] if self.maximise else value < self.kept["value"]

    @property
    def failed_in_a_row(self) -> int:
        """How many of the last validations violated a constraint."""
        count = 0
        while count < len(self.history) and self.history[-1 - count]["violations"]:
            count += 1
        return count

    def summary(self) -> str:
        """One line: which validation is kept, and why the others are not."""
        if self.kept is None:
            first = f"no validation of {len(self.history)} satisfies the constraints with a value of {self.monitor}"
        else:
            first = f"kept step {self.kept['step']} of {len(self.history)} validations: {self.monitor} "
            first += f"{self.kept['value']:.4g}"
        others = [
            f"step {entry['step']} ("
            + ("; ".join(f"{name} {reason}" for name, reason in entry["violations"].items()) or f"{entry['value']:.4g}")
            + ")"
            for entry in self.history
            if entry is not self.kept
        ]
        return first + (f"; refused: {', '.join(others)}" if others else "")

    def state_dict(self) -> dict[str, Any]:
        """References, history and which entry is kept, of plain types."""
        kept = None if self.kept is None else self.history.index(self.kept)
        return {"references": dict(self.references), "history": list(self.history), "kept": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.references, self.history = dict(state["references"]), list(state["history"])
        self.kept = None if state["kept"] is None else self.history[state["kept"]]

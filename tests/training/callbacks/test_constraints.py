"""The best of scripted validations under constraints."""

from __future__ import annotations

from math import inf, nan

import pytest

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.callbacks.constraints import ConstrainedSelection, Constraint

CLAP, DIVERSITY = "val/metric/clap", "val/metric/diversity"


def select(*validations: tuple[float, float], maximise: bool = True, **bounds: float) -> ConstrainedSelection:
    """The decision after validations of CLAP score and diversity, at steps 100, 200, ..."""
    selection = ConstrainedSelection(CLAP, maximise, {DIVERSITY: Constraint(**(bounds or {"at_least": 2.0}))})
    for index, (clap, diversity) in enumerate(validations, start=1):
        selection.consider(100 * index, {CLAP: clap, DIVERSITY: diversity, "val/loss": 1.0})
    return selection


def kept(selection: ConstrainedSelection) -> int | None:
    return None if selection.kept is None else selection.kept["step"]


@pytest.mark.parametrize(
    ("validations", "step"),
    [
        ([(0.1, 2.5), (0.3, 2.4), (0.2, 2.5)], 200),
        ([(0.1, 2.5), (0.3, 2.4), (0.9, 1.9)], 200),  # the best of all violates the constraint
        ([(0.9, 1.0), (0.1, 2.0)], 200),  # a bound is allowed
        ([(0.3, 2.5), (0.3, 2.9)], 100),  # of equal values the first
        ([(nan, 2.5), (0.1, 2.5), (nan, 2.5)], 200),
        ([(0.1, 2.5), (0.9, nan)], 100),
        ([(-inf, 2.5)], 100),
        ([(0.9, 1.9), (nan, 2.5), (0.8, nan)], None),
        ([], None),
    ],
)
def test_the_best_value_among_those_within_the_bounds_is_kept(
    validations: list[tuple[float, float]], step: int | None
) -> None:
    assert kept(select(*validations)) == step


def test_lower_may_be_better_and_bounds_may_be_above() -> None:
    assert kept(select((0.3, 2.0), (0.3, 2.0), maximise=False)) == 100  # of equal values the first
    assert kept(select((0.3, 1.0), (0.1, 3.0), (0.2, 2.0), maximise=False, at_most=2.5)) == 300
    assert kept(select((0.3, 1.0), (0.1, 3.0), (0.2, 2.0), maximise=False, at_least=1.5, at_most=3.0)) == 200


def test_relative_bounds_are_multiples_of_the_reference() -> None:
    constraint = Constraint(at_least=0.95, of="teacher")
    assert constraint.violation(1.9, 2.0) is None
    reason = constraint.violation(1.8, 2.0)
    assert reason is not None
    assert {"1.8", "1.9", "0.95", "2", "teacher"} <= set(reason.split())
    selection = ConstrainedSelection(CLAP, True, {DIVERSITY: constraint}, {DIVERSITY: 2.0})
    assert selection.consider(1, {CLAP: 0.5, DIVERSITY: 1.9})
    assert not selection.consider(2, {CLAP: 0.6, DIVERSITY: 1.89})


def test_failures_are_counted_in_a_row() -> None:
    counts = []
    selection = ConstrainedSelection(CLAP, True, {DIVERSITY: Constraint(at_least=2.0)})
    for step, diversity in enumerate([1.0, 2.5, 1.0, nan, 1.9, 2.0]):
        selection.consider(step, {CLAP: 0.5, DIVERSITY: diversity})
        counts.append(selection.failed_in_a_row)
    assert counts == [1, 0, 1, 2, 3, 0]


def test_the_summary_names_the_kept_step_and_why_others_are_refused() -> None:
    summary = select((0.1, 2.5), (0.3, 2.4), (0.9, 1.9)).summary()
    before, _, refused = summary.partition("refused")
    assert "200" in before
    assert "0.3" in before
    assert "step 100 (0.1)" in refused
    assert f"step 300 ({DIVERSITY} 1.9 is not >= 2)" in refused
    nothing = select((0.9, 1.9)).summary()
    assert "step 100" in nothing
    assert DIVERSITY in nothing


def test_a_decision_continues_from_its_state() -> None:
    validations = [(0.1, 2.5), (0.3, 2.4), (0.3, 2.5), (0.9, 1.9), (0.2, 2.0)]
    straight = select(*validations)
    for cut in range(len(validations)):
        first = select(*validations[:cut])
        resumed = select()
        resumed.load_state_dict(first.state_dict())
        for index, (clap, diversity) in enumerate(validations[cut:], start=cut + 1):
            resumed.consider(100 * index, {CLAP: clap, DIVERSITY: diversity})
        assert resumed.state_dict() == straight.state_dict()
        assert resumed.summary() == straight.summary()


def test_a_missing_metric_and_bounds_that_cannot_be_satisfied_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="val/metric/divers"):
        ConstrainedSelection(CLAP, True, {"val/metric/divers": Constraint(at_least=2)}).consider(
            1, {CLAP: 0.5, DIVERSITY: 2.5}
        )
    with pytest.raises(ConfigurationError, match=CLAP):
        ConstrainedSelection(CLAP, True, {}).consider(1, {"val/loss": 0.5})
    with pytest.raises(ConfigurationError):
        Constraint()
    with pytest.raises(ConfigurationError, match=r"2.*1"):
        Constraint(at_least=2, at_most=1)
    assert Constraint(at_least=2, at_most=2).violation(2.0) is None

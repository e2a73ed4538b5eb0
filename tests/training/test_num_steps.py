"""How the number of steps changes."""

from __future__ import annotations

import pytest

from consistency_tta.training import DoublingSteps


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (10, 80, [10, 20, 40, 80, 80]),  # s_0 and s_1 of Song and Dhariwal are such a pair
        (4, 36, [4, 8, 16, 32, 36, 36]),
        (36, 4, [36, 18, 9, 4, 4]),
        (18, 18, [18, 18]),
    ],
)
def test_it_doubles_or_halves_until_the_end(start: int, end: int, expected: list[int]) -> None:
    steps = DoublingSteps(start, end, every=100)
    assert [steps(100 * change) for change in range(len(expected))] == expected
    assert [steps(100 * change + 99) for change in range(len(expected))] == expected
    assert steps(10**9) == end
    assert steps.all() == list(dict.fromkeys(expected))


def test_impossible_numbers_are_named() -> None:
    with pytest.raises(ValueError, match="num_steps of at least 2, got 1: with a single step"):
        DoublingSteps(8, 1, 10)
    with pytest.raises(ValueError, match="every 1 optimizer step or more, got every=0"):
        DoublingSteps(2, 8, 0)

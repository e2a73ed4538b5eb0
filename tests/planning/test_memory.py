"""Memory by strategy and batch."""

from __future__ import annotations

import pytest

from consistency_tta.planning.counted_step import StepPeaks
from consistency_tta.planning.memory import GIB, RESERVED, Counted, counted

STEP = StepPeaks(forward=10 * GIB, backward=11 * GIB, optimizer=9 * GIB, persistent=8 * GIB)
TWICE = StepPeaks(forward=12 * GIB, backward=14 * GIB, optimizer=9 * GIB, persistent=8 * GIB)


@pytest.fixture
def four() -> Counted:
    return counted(4, STEP, TWICE, trained=2 * GIB, sharded=10 * GIB, largest_block=GIB // 4)


def test_a_batch_between_is_interpolated_and_the_largest_phase_counts(four: Counted) -> None:
    assert four.peak(4) == STEP.peak
    assert four.peak(8) == TWICE.peak
    assert four.peak(6) == pytest.approx(12.5 * GIB)
    assert counted(4, STEP, STEP, 0, 0, 0).peak(100) == STEP.peak


def test_ddp_adds_buckets_and_fsdp2_divides_what_is_trained(four: Counted) -> None:
    assert four.peak(4, "ddp", 1) == four.peak(4, "fsdp2", 1) == 11 * GIB
    assert four.peak(4, "ddp", 8) == 13 * GIB
    # An eighth of the 10 GiB stays, and three blocks come.
    assert four.peak(4, "fsdp2", 8) == pytest.approx((11 - 10 * 7 / 8 + 0.75) * GIB)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_the_largest_batch_fits_and_one_more_does_not(four: Counted, strategy: str) -> None:
    for card in (16, 24, 40, 80):
        largest = four.largest_batch(card, strategy, 2)
        assert largest > 0
        assert four.peak(largest, strategy, 2) <= card * GIB - RESERVED < four.peak(largest + 1, strategy, 2)
    assert four.largest_batch(4, "ddp", 2) == 0


def test_what_cannot_be_sharded_has_no_such_strategy(four: Counted) -> None:
    assert four.strategies(1) == [("ddp", 1)]
    assert four.strategies(8) == [("ddp", 1), ("ddp", 8), ("fsdp2", 8)]
    assert counted(4, STEP, TWICE, 2 * GIB, 0, 0).strategies(8) == [("ddp", 1), ("ddp", 8)]

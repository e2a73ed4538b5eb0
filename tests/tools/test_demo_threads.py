"""The number of threads is the one with which trials are faster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tools.demo_threads import ENOUGH_SECONDS, ROUNDS, choose_threads


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("one", "two", "fastest"), [(0.2, 0.1, 2), (0.2, 3.0, 1), (1, 20, 1)])
def test_the_faster_number_is_kept(one: float, two: float, fastest: int) -> None:
    tried: list[int] = []

    def trial() -> float:
        tried.append(torch.get_num_threads())
        return {1: one, 2: two}[tried[-1]]

    assert choose_threads(trial) == f"{fastest}; a step of the teacher took {one:.2g} s with 1 and {two:.2g} s with 2"
    assert torch.get_num_threads() == fastest
    assert tried == [1] + [1, 2] * (1 if two > ENOUGH_SECONDS else ROUNDS)


def test_the_users_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose_threads(lambda: pytest.fail("nothing to try")) == "2, by OMP_NUM_THREADS"


def test_a_single_thread_needs_no_trial() -> None:
    torch.set_num_threads(1)
    assert choose_threads(lambda: pytest.fail("nothing to try")) == "1"

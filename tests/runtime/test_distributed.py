"""Processes take all of the work, and each piece once."""

from __future__ import annotations

import pytest

from consistency_tta.runtime.distributed import LAUNCHERS, ProcessRank
from consistency_tta.runtime.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (name for names in LAUNCHERS for name in names):
        monkeypatch.delenv(name, raising=False)


def test_shares_are_all_of_the_work() -> None:
    shares = [ProcessRank(rank, 3).share(range(8)) for rank in range(3)]
    assert sorted(number for share in shares for number in share) == list(range(8))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ProcessRank().share("abc") == "abc"


@pytest.mark.parametrize(("rank", "world_size", "local_rank"), LAUNCHERS)
def test_launchers_are_understood(rank: str, world_size: str, local_rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ProcessRank.of_launcher() == ProcessRank(0, 1, 0)
    monkeypatch.setenv(world_size, "4")
    assert ProcessRank.of_launcher() == ProcessRank(0, 1, 0)  # half of a launcher is none
    monkeypatch.setenv(rank, "3")
    assert ProcessRank.of_launcher() == ProcessRank(3, 4, 3)
    monkeypatch.setenv(local_rank, "1")
    assert ProcessRank.of_launcher() == ProcessRank(3, 4, 1)
    assert str(ProcessRank.of_launcher()) == "process 4 of 4"
    monkeypatch.setenv(rank, "4")
    with pytest.raises(ConfigurationError, match=f"{rank}=4"):
        ProcessRank.of_launcher()

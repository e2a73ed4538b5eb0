import pytest
import torch

from consistency_tta.metrics import pairs


def test_median_is_that_of_torch():
    rows = torch.randn(40, 5, dtype=torch.float64)
    torch.testing.assert_close(pairs.median_distance(rows), torch.pdist(rows).median(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("number", [2, 3, 41])
def test_median_is_exact_also_when_narrowed_down_block_by_block(number, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", 100)
    monkeypatch.setattr(pairs, "_SORTED", 3)
    monkeypatch.setattr(pairs, "_BINS", 4)
    rows = torch.randn(number, 5, dtype=torch.float64)
    torch.testing.assert_close(pairs.median_distance(rows), torch.pdist(rows).median(), rtol=1e-14, atol=0)


def test_median_of_ties(monkeypatch):
    monkeypatch.setattr(pairs, "_SORTED", 3)
    monkeypatch.setattr(pairs, "_BINS", 4)
    assert pairs.median_distance(torch.ones(10, 2, dtype=torch.float64)) == 0
    corners = torch.eye(6, dtype=torch.float64)
    assert pairs.median_distance(corners).item() == pytest.approx(2**0.5, rel=1e-15)
    assert pairs.median_distance(torch.cat([corners, corners])).item() == pytest.approx(2**0.5, rel=1e-15)


def test_equal_rows_are_exactly_zero_apart_far_from_the_origin():
    rows = torch.randn(30, 50, dtype=torch.float64) + 1e6
    assert not pairs.distances(rows, rows).diagonal().any()
    torch.testing.assert_close(pairs.distances(rows[:7], rows), pairs.distances(rows, rows)[:7], rtol=0, atol=0)


def test_blocks_hold_every_row_once(monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", 10)
    rows = torch.arange(11.0).reshape(-1, 1)
    found = list(pairs.blocks(rows, 4))
    assert [first for first, _ in found] == [0, 2, 4, 6, 8, 10]
    assert torch.equal(torch.cat([block for _, block in found]), rows)
    assert len(list(pairs.blocks(rows, 1000))) == 11

"""Intervals: of known spread, paired for differences, and wider where training seeds differ."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.metrics.diversity import mean_pairwise_distance
from tools.arena.intervals import Result, difference, estimate
from tools.arena.metric_values import half_values, halves, values
from tools.arena.real import RealClips


def test_halves_have_half_of_each_class_once() -> None:
    found = list(halves(clips=6, draws=20))
    assert all(half.shape == (10, 3) for half in found)
    assert all(len(set(rows.tolist())) == 3 for half in found for rows in half)
    assert all(torch.equal(one, other) for one, other in zip(found, halves(clips=6, draws=20), strict=True))


def test_the_interval_of_a_mean_has_its_standard_error() -> None:
    clips, sigma = 400, 2.0
    sample = sigma * torch.randn(10, clips // 10).double() + 7
    found = [sample[torch.arange(10)[:, None], half].mean().item() for half in halves(clips // 10, draws=2000)]
    one = estimate(Result({"0": sample.mean().item()}, {"0": found}))
    within = sample.var(1).mean().sqrt() / clips**0.5  # between classes nothing is drawn
    assert one.value == pytest.approx(sample.mean().item())
    assert one.high - one.low == pytest.approx(2 * 1.96 * float(within), rel=0.1)
    assert one.low < one.value < one.high


def test_the_bias_of_halves_is_subtracted() -> None:
    one = estimate(Result({"0": 10.0}, {"0": [14.0, 15.0, 16.0]}))
    assert (one.low, one.value, one.high) == (pytest.approx(9.0), 10.0, pytest.approx(11.0))


def test_training_seeds_that_differ_widen_the_interval() -> None:
    same = estimate(Result({"0": 1.0, "1": 1.0}, {"0": [1.0, 1.0], "1": [1.0, 1.0]}))
    apart = estimate(Result({"0": 0.0, "1": 2.0}, {"0": [0.0, 0.0], "1": [2.0, 2.0]}))
    assert (same.low, same.high) == (1.0, 1.0)
    assert (apart.low, apart.value, apart.high) == (0.0, 1.0, 2.0)
    assert apart.seeds == {"0": 0.0, "1": 2.0}


@pytest.mark.parametrize("seeds", [["0"], ["0", "1", "2"]])
def test_differences_are_paired_by_the_halves(seeds: list[str]) -> None:
    noise = torch.randn(50).tolist()
    teacher = Result({"0": 0.0}, {"0": noise})
    student = Result(dict.fromkeys(seeds, 1.0), {seed: [1 + value for value in noise] for seed in seeds})
    assert estimate(student).high - estimate(student).low > 1
    found = difference(student, teacher)
    assert found.value == 1.0
    assert found.high - found.low < 1e-9


def test_metric_values_of_a_known_set() -> None:
    real = torch.randn(60, 4)
    labels = torch.arange(10).repeat(6)
    clips = RealClips(real, labels, real[:40], real[40:], labels[40:], torch.empty(20, 0))
    embeddings = real[:40].view(10, 4, 4)
    scores = torch.eye(10)[:, None].repeat(1, 4, 1)
    scores[0, 0] = torch.eye(10)[3]  # one of 40 is wrong
    found = values(embeddings, scores, clips)
    assert found["accuracy"] == pytest.approx(39 / 40)
    assert found["nearest_train"] == found["nearest_train_5"] == 0  # all are training clips
    assert found["coverage"] > 0.9
    assert found["diversity"] == pytest.approx(float(sum(map(mean_pairwise_distance, embeddings)) / 10))
    assert 0 <= found["frechet"] < values(embeddings + 3, scores, clips)["frechet"]
    assert {len(drawn) for drawn in half_values(embeddings, scores, clips, draws=3).values()} == {3}

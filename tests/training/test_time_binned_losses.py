"""Means of losses per range of noise levels."""

from __future__ import annotations

import numpy as np
import torch

from consistency_tta.training.time_binned_losses import LossBin, TimeBinnedLosses


def test_means_are_those_of_the_examples_in_each_range() -> None:
    metric, random = TimeBinnedLosses(["latent", "mel"], 1000), np.random.default_rng(0)
    t, latent, mel = random.integers(1, 900, 60).astype(np.float32), random.random(60), random.random(60)
    t[:5] = [250, 250.5, 1000, 1000, 999.5]  # of these, only 1000 is the top time
    for rows in (slice(0, 25), slice(25, 60)):
        values = {"latent": torch.tensor(latent[rows]), "mel": torch.tensor(mel[rows])}
        metric.update(values, torch.tensor(t[rows]))
    computed = metric.compute()
    ranges = {"0000-0250": (0, 250), "0250-0500": (250, 500), "0500-0750": (500, 750), "0750-1000": (750, 999.5)}
    assert len(computed) == 10
    for name, values in (("latent", latent), ("mel", mel)):
        for label, (low, high) in ranges.items():
            expected = values[(t > low) & (t <= high)].mean()
            np.testing.assert_allclose(float(computed[f"{name}_t/{label}"]), expected, rtol=1e-5)
        np.testing.assert_allclose(float(computed[f"{name}_t/1000"]), values[2:4].mean(), rtol=1e-5)


def test_bins_have_counts_and_quartiles() -> None:
    metric = TimeBinnedLosses(["a", "b"], 1000, num_ranges=2)
    t = torch.tensor([100.0, 200.0, 300.0, 400.0, 500.0, 1000.0])
    for rows in (slice(0, 2), slice(2, 6)):
        metric.update({"a": t[rows] / 100, "b": torch.full_like(t[rows], torch.nan)}, t[rows])
    metric.compute()
    assert metric.bins["a"] == [LossBin(0, 500, 5, 3.0, (2.0, 3.0, 4.0)), LossBin(1000, 1000, 1, 10.0, (10.0,) * 3)]
    assert [one.count for one in metric.bins["b"]] == [5, 1]
    assert all(np.isnan([one.mean, *one.quartiles]).all() for one in metric.bins["b"])


def test_processes_are_put_together() -> None:
    metric = TimeBinnedLosses(["loss"], 1000, num_ranges=2)
    metric.update({"loss": torch.tensor([1.0, 3.0])}, torch.tensor([0.0, 1000.0]))
    metric.distributed_available_fn = lambda: True
    metric.dist_sync_fn = lambda tensor, group: [tensor, tensor]  # of two that saw the same
    assert metric.compute() == {"loss_t/0000-0500": 1, "loss_t/1000": 3}
    assert metric.bins["loss"] == [LossBin(0, 500, 2, 1.0, (1.0,) * 3), LossBin(1000, 1000, 2, 3.0, (3.0,) * 3)]


def test_values_of_half_precision_are_summed_in_float32() -> None:
    metric = TimeBinnedLosses(["loss"], 1000)
    metric.update({"loss": torch.full((1001,), 3.0, dtype=torch.bfloat16)}, torch.full((1001,), 10.0))
    assert metric.compute() == {"loss_t/0000-0250": 3}  # bfloat16 has no 3003


def test_ranges_that_were_not_met_are_left_out_and_forgotten() -> None:
    metric = TimeBinnedLosses(["loss"], 1000, num_ranges=2)
    metric.update({"loss": torch.tensor([1.0, float("nan")])}, torch.tensor([100.0, 1000.0]))
    computed = metric.compute()
    assert computed.keys() == {"loss_t/0000-0500", "loss_t/1000"}
    assert computed["loss_t/0000-0500"] == 1  # what is not finite stays in its range
    assert computed["loss_t/1000"].isnan()
    metric.reset()
    metric.update({"loss": torch.tensor([3.0])}, torch.tensor([999.0]))
    assert metric.compute() == {"loss_t/0500-1000": torch.tensor(3.0)}
    assert metric.state_dict() == {}

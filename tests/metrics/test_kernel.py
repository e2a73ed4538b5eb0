import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from consistency_tta.metrics import pairs
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError


def fed(metric, real, generated):
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return metric.compute()


@pytest.fixture
def clips():
    return torch.randn(61, 12) + 1, 1.5 * torch.randn(47, 12)


def test_the_bandwidth_is_the_median_distance_of_real_clips(clips):
    median = pairs.median_distance(clips[0].double()).item()
    found = fed(KernelAudioDistance(12), *clips)
    assert found == fed(KernelAudioDistance(12, bandwidth=median), *clips)
    assert found != fed(KernelAudioDistance(12, bandwidth=pairs.median_distance(clips[1].double()).item()), *clips)


def test_blocks_do_not_matter(clips, monkeypatch):
    whole = [fed(metric(12), *clips) for metric in (KernelAudioDistance, KernelDistance)]
    monkeypatch.setattr(pairs, "BLOCK", 500)
    parts = [fed(metric(12), *clips) for metric in (KernelAudioDistance, KernelDistance)]
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("arguments", [{}, {"degree": 2, "gamma": 0.3, "coef": 0.5}])
def test_kid_equals_that_of_torchmetrics_on_all_clips(arguments):
    class Identity(nn.Module):
        num_features = 12

        def forward(self, x):
            return x

    clips = torch.randn(2, 50, 12, dtype=torch.float64).float()
    reference = KernelInceptionDistance(Identity(), subsets=1, subset_size=50, **arguments)
    reference.update(clips[0].double(), real=True)
    reference.update(clips[1].double(), real=False)
    found = fed(KernelDistance(12, **arguments), *clips)
    torch.testing.assert_close(found, reference.compute()[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", [KernelAudioDistance, KernelDistance])
def test_has_no_bias(metric):
    """The mean over many draws of few clips of one distribution is 0, within its own scatter."""
    values = torch.stack([fed(metric(4), torch.randn(6, 4), torch.randn(5, 4)) for _ in range(100)])
    assert values.min() < 0 < values.max()
    assert values.mean().abs() < 3 * values.std() / 100**0.5


def test_far_sets_are_far_and_equal_ones_below_zero():
    rows = torch.randn(50, 4)
    kad = [fed(KernelAudioDistance(4), rows, rows + shift).item() for shift in (0.0, 0.5, 1.0, 100.0)]
    assert -100 * 2 / 50 < kad[0] < 0
    assert kad == sorted(kad)
    # With nothing across, what remains are the mean kernels within.
    within = np.exp(-(pdist(rows.double()) ** 2) / 2 / pairs.median_distance(rows.double()).item() ** 2).mean()
    assert kad[-1] == pytest.approx(200 * within)


def test_errors_say_what_to_do():
    for bandwidth in (-1, 0):
        with pytest.raises(ConfigurationError, match="bandwidth"):
            KernelAudioDistance(3, bandwidth=bandwidth)
    with pytest.raises(DataError):
        fed(KernelAudioDistance(3), torch.ones(5, 3), torch.randn(5, 3))
    with pytest.raises(DataError, match="generated"):
        fed(KernelDistance(3), torch.ones(5, 3), torch.randn(1, 3))
    with pytest.raises(ShapeError, match="5, 4"):
        KernelDistance(3).update(torch.ones(5, 4), real=True)
    with pytest.raises(DataError):
        KernelDistance(3).update(torch.full((5, 3), torch.inf), real=True)

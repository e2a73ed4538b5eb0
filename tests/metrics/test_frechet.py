import warnings

import pytest
import scipy.linalg
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from consistency_tta.metrics.frechet import FrechetDistance, frechet_distance
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError


@pytest.fixture
def clips():
    """Two sets of 400 correlated 12-d embeddings with distinct means."""
    generator = torch.manual_seed(0)
    real = torch.randn(400, 12, generator=generator) @ torch.randn(12, 12, generator=generator) + 2
    generated = torch.randn(400, 12, generator=generator) @ torch.randn(12, 12, generator=generator) - 1
    return real, generated


def distance(real, generated, batch_size=400):
    metric = FrechetDistance(real.shape[1])
    for batch in real.split(batch_size):
        metric.update(batch, real=True)
    for batch in generated.split(batch_size):
        metric.update(batch, real=False)
    return metric.compute()


def test_equals_the_matrix_square_root_of_scipy(clips):
    (m_1, s_1), (m_2, s_2) = ((x.double().mean(0).numpy(), x.double().T.cov().numpy()) for x in clips)
    root = scipy.linalg.sqrtm(s_1 @ s_2).real
    expected = ((m_1 - m_2) ** 2).sum() + (s_1 + s_2 - 2 * root).trace()
    assert distance(*clips).item() == pytest.approx(expected, rel=1e-9)


class Identity(nn.Module):
    num_features = 12

    def forward(self, x):
        return x


def test_equals_torchmetrics_inception_distance(clips):
    reference = FrechetInceptionDistance(feature=Identity())
    reference.update(clips[0].double(), real=True)
    reference.update(clips[1].double(), real=False)
    torch.testing.assert_close(distance(*clips), reference.compute(), rtol=1e-9, atol=0)


def test_batches_and_processes_do_not_matter(clips):
    real, generated = clips
    whole = distance(real, generated)
    torch.testing.assert_close(distance(real, generated, batch_size=7), whole, rtol=1e-10, atol=0)
    parts = [FrechetDistance(12), FrechetDistance(12)]
    for part, a, b in zip(parts, real.split([150, 250]), generated.split([310, 90]), strict=True):
        part.update(a, real=True)
        part.update(b, real=False)
    parts[0].merge_state(parts[1])
    torch.testing.assert_close(parts[0].compute(), whole, rtol=1e-10, atol=0)


def test_known_gaussians():
    """For diagonal covariances d^2 = |m_1 - m_2|^2 + |sigma_1 - sigma_2|^2, also where some are 0."""
    sigma_1, sigma_2 = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([2.0, 5.0, 0.0])
    mean = torch.tensor([1.0, 2.0, 2.0])
    found = frechet_distance(torch.zeros(3), sigma_1.square().diag(), mean, sigma_2.square().diag())
    assert found.item() == pytest.approx(9 + (1 + 25 + 9))


def test_is_symmetric(clips):
    real, generated = clips
    torch.testing.assert_close(distance(real, generated), distance(generated, real))


def test_is_zero_between_equal_sets_also_far_from_full_rank():
    few = 10 * torch.randn(8, 384, generator=torch.manual_seed(1)) + 20
    with pytest.warns(UserWarning, match="384"):
        assert distance(few, few).abs() < 1e-8


def test_warns_of_too_few_clips_and_only_then(clips):
    real, generated = clips
    with pytest.warns(UserWarning, match="9 .*12"):
        distance(real, generated[:9])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distance(real, generated[:13])


def test_stays_in_double_precision(clips):
    metric = FrechetDistance(12).half()
    metric.update(clips[0].half(), real=True)
    assert metric.real.dtype == torch.float64
    # Offset embeddings, as after a ReLU: in float32 the covariance would drown in the squared mean.
    torch.testing.assert_close(distance(clips[0] + 1e3, clips[1] + 1e3), distance(*clips), rtol=1e-3, atol=0)
    # In float64 they keep their digits, which sums of squares about zero would lose: (1e7)^2 has none left for 1.
    far = [rows.double() + 1e7 for rows in clips]
    torch.testing.assert_close(distance(*far, batch_size=7), distance(*clips), rtol=1e-6, atol=0)


def test_errors_say_what_to_do():
    with pytest.raises(ConfigurationError, match="num_features"):
        FrechetDistance(0)
    metric = FrechetDistance(3)
    with pytest.raises(ShapeError, match="5, 4"):
        metric.update(torch.zeros(5, 4), real=True)
    with pytest.raises(DataError):
        metric.update(torch.full((5, 3), float("nan")), real=True)
    metric.update(torch.randn(5, 3), real=True)
    metric.update(torch.randn(1, 3), real=False)
    with pytest.raises(DataError, match="generated"):
        metric.compute()

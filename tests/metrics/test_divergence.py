import math

import pytest
import scipy.special
import torch

from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError


def fed(metric, generated, real):
    metric.update(generated, real)
    return metric.compute().item()


@pytest.fixture
def logits():
    return 3 * torch.randn(2, 20, 527)


def test_softmax_equals_the_entropy_of_scipy(logits):
    generated, real = logits.double().softmax(-1).numpy()
    expected = scipy.special.rel_entr(real, generated + 1e-6).sum(1).mean()
    assert fed(SoftmaxDivergence(), *logits) == pytest.approx(expected, rel=1e-9)


def test_known_values_and_the_direction():
    sure, half = torch.tensor([[100.0, 0.0]]), torch.zeros(1, 2)
    assert fed(SoftmaxDivergence(), half, sure) == pytest.approx(math.log(2), abs=1e-5)
    assert fed(SoftmaxDivergence(), sure, half) == pytest.approx(-math.log(2) + math.log(1e6) / 2, abs=1e-5)
    assert fed(SigmoidDivergence(), half, torch.full((1, 2), 100.0)) == pytest.approx(2 * math.log(2), abs=1e-5)


def test_equal_pairs_are_at_zero_shuffled_ones_are_not(logits):
    for metric in (SoftmaxDivergence, SigmoidDivergence):
        assert -1e-6 * 527 <= fed(metric(), logits[1], logits[1]) <= 0
        assert fed(metric(), logits[1].roll(1, 0), logits[1]) > 1


def test_hopeless_logits_stay_finite():
    far = torch.tensor([[1e4, -1e4, 0.0]])
    assert fed(SoftmaxDivergence(), far.flip(1), far) == pytest.approx(-math.log(1e-6))
    assert math.isfinite(fed(SigmoidDivergence(), far.flip(1), far))


def test_errors_say_what_to_do():
    with pytest.raises(ConfigurationError, match="epsilon"):
        SoftmaxDivergence(epsilon=0)
    with pytest.raises(ShapeError, match=r"3, 5"):
        SoftmaxDivergence().update(torch.zeros(3, 5), torch.zeros(2, 5))
    with pytest.raises(DataError):
        SigmoidDivergence().update(torch.zeros(1, 5), torch.full((1, 5), torch.nan))

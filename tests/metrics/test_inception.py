import pytest
import torch
import torchmetrics.image.inception
from torch import nn

from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError


def fed(logits, splits, seed=0):
    metric = InceptionScore(logits.shape[1], splits, seed)
    metric.update(logits)
    return metric.compute()


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all extracted features")
@pytest.mark.parametrize("splits", [2, 7])
def test_equals_that_of_torchmetrics(splits):
    logits = 2 * torch.randn(50, 9)
    reference = torchmetrics.image.inception.InceptionScore(nn.Identity(), splits)
    reference.update(logits.double())
    torch.manual_seed(3)  # it shuffles with the common generator
    mean, std = reference.compute()
    found = fed(logits, splits, seed=3)
    torch.testing.assert_close(found["mean"], mean, rtol=1e-9, atol=0)
    torch.testing.assert_close(found["std"], std, rtol=1e-9, atol=0)


def test_known_values():
    sure = 1e4 * torch.eye(8)
    assert fed(sure, splits=1)["mean"].item() == pytest.approx(8)
    assert fed(sure[:1].expand(8, 8), splits=1)["mean"].item() == pytest.approx(1)
    assert fed(torch.zeros(8, 8), splits=2) == {"mean": 1, "std": 0}
    assert fed(torch.randn(8, 8), splits=1)["std"] == 0


def test_errors_say_what_to_do():
    with pytest.raises(ConfigurationError, match="splits"):
        InceptionScore(5, splits=0)
    with pytest.raises(DataError, match="10"):
        fed(torch.zeros(9, 5), splits=10)
    with pytest.raises(ShapeError, match="2, 4"):
        InceptionScore(5).update(torch.zeros(2, 4))

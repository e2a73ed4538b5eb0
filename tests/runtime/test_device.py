import pytest
import torch
from torch import nn

from consistency_tta.runtime.device import best_device, device_of
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        best_device(name)
    assert best_device("cpu") == torch.device("cpu")


def test_the_device_of_a_network_is_that_of_its_weights_frozen_or_not() -> None:
    assert device_of(nn.Identity()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")) == torch.device("meta")
    inner = nn.Sequential(Frozen(network=nn.Linear(1, 1, device="meta")))
    assert device_of(nn.Sequential(Frozen(encoder=inner))) == torch.device("meta")

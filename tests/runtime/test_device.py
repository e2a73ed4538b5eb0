import pytest
import torch
from torch import nn

from consistency_tta.runtime.device import best_device, device_of


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"a device that torch finds here, got {name} \(.*\): leave it out .* or say cpu"
    ):
        best_device(name)
    assert best_device("cpu") == torch.device("cpu")


def test_the_place_of_a_network_is_that_of_its_weights() -> None:
    owner = nn.Identity()
    assert device_of(owner) == torch.device("cpu")
    owner.__dict__["frozen"] = nn.Linear(1, 1, device="meta")
    assert device_of(owner) == device_of(owner.frozen) == torch.device("meta")

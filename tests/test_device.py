import pytest
import torch

from consistency_tta.device import best_device


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"a device that torch finds here, got {name} \(.*\): leave it out .* or say cpu"
    ):
        best_device(name)
    assert best_device("cpu") == torch.device("cpu")

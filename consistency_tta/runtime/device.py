"""The device on which networks run."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen


def best_device(name: str | None = None) -> torch.device:
    """The named device, or else the accelerator, or else the CPU; a ValueError for one that is not there."""
    if name is not None:
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # the latter is of a torch that was built without
            # torch names all kinds of devices, or of backends, that it has ever known to one that it does not have.
            unknown = "at start of device string" in str(error)
            reason = "no such kind of device" if unknown else re.split(r"\n|\. ", str(error))[0]
            remedy = "give cuda, or leave it out" if name == "gpu" else "leave it out"
            raise ConfigurationError(
                f"expected a device that torch finds here, got {name} ({reason}): {remedy} for the best available"
            ) from error
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device without waiting for the work that the device has still to do."""
    # CUDA copies in the background only from page-locked memory.
    source = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return source.to(device, non_blocking=True)


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that have no float64, such as Apple's GPUs."""
    return torch.float64 if device.type in ("cpu", "cuda", "xpu") else torch.float32


def exact_device(device: torch.device) -> torch.device:
    """The device, or the CPU where the device has no float64."""
    return device if exact_dtype(device) == torch.float64 else torch.device("cpu")


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's first parameter or buffer, be it in a :class:`Frozen`; the CPU where it has none."""
    first = next(_tensors(network), None)
    return torch.device("cpu") if first is None else first.device


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
    for module in network.modules():
        if isinstance(module, Frozen):
            for held in module.held.values():
                yield from _tensors(held)

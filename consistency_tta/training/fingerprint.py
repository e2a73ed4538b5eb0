"""What tells one network's weights from another's."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def fingerprint(network: nn.Module) -> str:
    """SHA-256, in hexadecimal, of all weights and buffers with their names, shapes and types.

    The same whatever file they came from, unlike a file's own checksum. Also of modules that are kept as plain
    attributes and so are in no ``state_dict()``, as frozen networks are here.

    Raises:
        ValueError: there are no weights, and no attribute ``checksum`` to take instead.
    """
    digest, tensors = hashlib.sha256(), _tensors(network)
    if not tensors:
        own = getattr(network, "checksum", None)
        if isinstance(own, str):
            return own
        raise ValueError(f"{type(network).__name__} has no weights to tell it by: give it an attribute `checksum`")
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Those of the module and of the modules among its plain attributes."""
    tensors = dict(network.state_dict())
    for name, value in vars(network).items():
        if isinstance(value, nn.Module):
            tensors |= {f"{name}.{key}": tensor for key, tensor in value.state_dict().items()}
    return tensors

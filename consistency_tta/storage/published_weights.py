"""Files of published weights: where they lie and how they are read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from consistency_tta.runtime.errors import CheckpointError


class Published(NamedTuple):
    """A file that its authors offer.

    Attributes:
        file: its name.
        url: whence to fetch it.
        also: names under which other packages keep the same file.
    """

    file: str
    url: str
    also: tuple[str, ...] = ()


def locate(weights: str | Path | None, published: Published) -> Path:
    """Where the file is; nothing is fetched.

    Args:
        weights: the file, or a folder that has it; if None, the cache of ``torch.hub`` (``TORCH_HOME``), where the
            packages that know the file keep it.
        published: the file.

    Raises:
        FileNotFoundError: it does not exist; the message names the URL and the place.
    """
    cache = Path(torch.hub.get_dir())
    folders = [Path(weights)] if weights is not None else [cache / "checkpoints", cache]
    if folders[0].is_file():
        return folders[0]
    for folder in folders:
        for name in (published.file, *published.also):
            if (folder / name).is_file():
                return folder / name
    goal = folders[0] if folders[0].suffix else folders[0] / published.file
    raise FileNotFoundError(
        f"expected {published.file} at {goal}, where there is none: fetch {published.url} and put it there, or "
        "specify its place with the option `weights`"
    )


def read(path: Path, published: Published) -> dict[str, Any]:
    """What a file of ``torch.save`` holds, without executing what it may contain.

    Raises:
        CheckpointError: it is truncated, or holds more than tensors, numbers and arrays.
    """
    try:
        # PANNs' files also have the state of the training's sampler, an array of numpy.
        with torch.serialization.safe_globals(numpy_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        raise CheckpointError(
            f"expected {published.file} in {path}, but it is truncated, or holds more than tensors, which is not "
            f"loaded since it could run code of its author ({str(error)[:100]!r}): fetch {published.url} again"
        ) from None
    return content if isinstance(content, dict) else {}


def load(network: nn.Module, tensors: dict[str, Tensor], path: Path, published: Published) -> None:
    """Make a file's tensors a network's weights, in float32.

    Raises:
        CheckpointError: names or shapes are not the network's; the message names some.
    """
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        faults = str(error).split("\n", 1)[-1].strip()
        raise CheckpointError(
            f"expected the weights of {type(network).__name__} in {path}, as {published.url} has them: {faults[:500]}"
        ) from None
    network.float()


def numpy_globals() -> list[Any]:
    """Classes by which numpy's numbers and arrays are pickled, under the names of numpy 1 and 2, for ``torch.load``.

    Files of weights may also hold a best score or the order of the training's data.
    """
    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    names = [(make, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for name, make in makers.items()]
    return [*names, np.ndarray, np.dtype, *(type(np.dtype(code)) for code in "?bhilqBHILQefd")]

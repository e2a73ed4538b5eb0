"""Files of weights, as others published them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.published_weights import numpy_globals
from consistency_tta.storage.torch_file import is_mappable

#: How a file begins that git left in the place of a large one.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
#: Endings of files of weights.
SUFFIXES = {".bin", ".ckpt", ".pt", ".pth", ".safetensors"}
#: What accelerate and Lightning write next to weights.
NOT_WEIGHTS = ("optimizer", "scheduler", "scaler", "random_states", "training_args")


@dataclass
class Checkpoint:
    """Named tensors of one file.

    Attributes:
        path: the file.
        tensors: by name, without the prefixes that ``DistributedDataParallel`` and ``torch.compile`` add.
        numbers: what was stored with them, such as ``scale_factor``.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float] = field(default_factory=dict)

    def has(self, prefix: str) -> bool:
        """Whether a name begins so."""
        return any(name.startswith(prefix) for name in self.tensors)

    def under(self, *prefixes: str) -> dict[str, Tensor]:
        """The tensors whose name begins with one of the prefixes, named without it."""
        return {
            name.removeprefix(prefix): tensor
            for prefix in prefixes
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def number(self, name: str) -> float | None:
        """A stored number, or a tensor of one element; None if there is neither."""
        if name in self.tensors and self.tensors[name].numel() == 1:
            return float(self.tensors[name])
        return self.numbers.get(name)


def read_all(paths: Sequence[Path]) -> list[Checkpoint]:
    """Read files, and all files of weights directly in folders."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            found = [file for file in found if not file.name.startswith(NOT_WEIGHTS)]
            if not found:
                raise FileNotFoundError(f"no file of weights ({', '.join(sorted(SUFFIXES))}) in the folder {path}")
            files += found
        else:
            files.append(path)
    return [read(file) for file in files]


def read(path: Path) -> Checkpoint:
    """Read a pickled file of tensors, without executing what it may contain, or a safetensors file.

    Raises:
        FileNotFoundError: if the file does not exist.
        CheckpointError: if it is a Git LFS pointer, an archive of other files, truncated, no checkpoint, or pickles
            more than tensors, numbers and texts.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: expected a file of weights, or a folder of them")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise CheckpointError(
                f"{path} is a Git LFS pointer of {path.stat().st_size} bytes, not the weights themselves: "
                "run `git lfs pull` in its repository, or download the file"
            )
    content = _load(path)
    numbers: dict[str, float] = {}
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        numbers |= {name: float(value) for name, value in content.items() if isinstance(value, int | float)}
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"expected named tensors in {path}, got {_describe(content)}")
    tensors = {_plain(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return Checkpoint(path, tensors, numbers)


def _load(path: Path) -> Any:
    """What is stored in a file."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is truncated, or no safetensors file: {error}") from None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
        if not any(name.endswith("data.pkl") for name in members):
            raise CheckpointError(f"{path} is an archive of other files ({', '.join(members[:3])}): unpack it first")
    try:
        # Trainers keep a best score as a number of numpy with the weights.
        with torch.serialization.safe_globals(numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if foreign:
            raise CheckpointError(
                f"{path} pickles more than tensors, {foreign[1]} among others, which could run code of its author, and "
                "is not loaded: in Python, save its state_dict alone, if you trust its origin"
            ) from None
        # Not torch's own words, which advise to load it without the safeguard.
        raise CheckpointError(f"{path} is truncated, or no checkpoint of PyTorch or safetensors") from None


def _plain(name: str) -> str:
    """A parameter's name without what wrappers add."""
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary of {', '.join(str(key) for key in list(content)[:5]) or 'nothing'}"
    return f"a {type(content).__name__}"

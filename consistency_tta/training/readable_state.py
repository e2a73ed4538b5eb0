"""Whether a checkpoint can be read again: no code of a file is run, so it may hold only numbers, texts and tensors."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor

from consistency_tta.runtime.errors import CheckpointError

PLAIN = (type(None), bool, int, float, str, bytes)


def check_readable(checkpoint: dict[str, Any]) -> None:
    """Raise if something in a checkpoint, such as a callback's state, could not be read from the file again.

    Raises:
        CheckpointError: names the place and the object's class.
    """
    seen: set[type] = set()
    for key, value in checkpoint.items():
        if key != "state_dict":
            _check(value, str(key), seen)


def _check(value: Any, place: str, seen: set[type]) -> None:
    kind = type(value)
    if kind in PLAIN or kind in seen or isinstance(value, Tensor):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, place, seen)
            _check(item, f"{place}: {key}", seen)
    elif isinstance(value, list | tuple | set):
        for item in value:
            _check(item, place, seen)
    else:
        stream = io.BytesIO()
        try:
            torch.save(value, stream)
            stream.seek(0)
            torch.load(stream, weights_only=True)
        except Exception as error:  # pickling runs methods of the object, which may raise anything
            raise CheckpointError(
                f"{place} is a {kind.__module__}.{kind.__qualname__}, which no checkpoint could be read again with; "
                "expected numbers, texts, tensors, and lists and dictionaries of them from state_dict()"
            ) from error
        seen.add(kind)

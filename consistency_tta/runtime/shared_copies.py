"""Copies of networks that use the original's memory until the networks are sharded over processes.

A distillation has its network several times: teacher, student, averages. A process that keeps only its part of each
need not hold them whole before: while it is built, copies use the memory of the original, which is a mapped file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

_SHARING: ContextVar[bool] = ContextVar("sharing", default=False)


@contextmanager
def share_copies() -> Iterator[None]:
    """Within it, :func:`copy_module` copies no weights.

    For trainings under the strategy ``fsdp2``, which divide all weights among processes before the first step. The
    command line does this by itself; in Python, build the training module within it.
    """
    token = _SHARING.set(True)
    try:
        yield
    finally:
        _SHARING.reset(token)


def sharing_copies() -> bool:
    """Whether copies use the memory of their originals at present."""
    return _SHARING.get()


def copy_module(module: M, kept: Mapping[int, nn.Parameter] | None = None) -> M:
    """A copy with parameters of its own, whose memory is the original's within :func:`share_copies`.

    Args:
        module: any network.
        kept: parameters by their id that the copy has in common with the original.
    """
    memo: dict[int, nn.Parameter] = dict(kept or {})
    if sharing_copies():
        for parameter in module.parameters():
            memo.setdefault(id(parameter), nn.Parameter(parameter, parameter.requires_grad))
    return deepcopy(module, memo)


def separate_memory(parameters: Iterable[nn.Parameter], others: Iterable[nn.Parameter] = ()) -> None:
    """Give parameters memory of their own where they use that of one before them.

    Args:
        parameters: each of which is copied if its memory is that of another.
        others: that keep theirs.
    """
    taken = {parameter.data_ptr() for parameter in others}
    for parameter in parameters:
        if parameter.data_ptr() in taken:
            parameter.data = parameter.data.clone()
        taken.add(parameter.data_ptr())

"""The packages of the extra ``listening``, which the analysis needs and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from consistency_tta.runtime.errors import MissingExtraError


def require_extra(name: str) -> Any:
    """A module of the extra.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The analysis of a listening test needs {name.partition('.')[0]}, which is not installed: "
            "pip install 'consistency-tta[listening]', or pip install scipy krippendorff"
        ) from error

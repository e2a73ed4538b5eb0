"""Matplotlib, for the tools that draw; nothing else needs it."""

from __future__ import annotations

from typing import Any


def import_pyplot() -> Any:
    """Its ``pyplot``, drawing to files.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "expected matplotlib for the picture, found none: pip install matplotlib, or leave --output out"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot

"""Errors in what the user gave, in one line instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import walk_tb


def user_errors() -> tuple[type[BaseException], ...]:
    """Classes of errors in what the user gave, such as a missing extra, or a GPU that Lightning does not find."""
    # Imported by whatever raised it.
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    misconfigured = (lightning.MisconfigurationException,) if lightning else ()
    return (ValueError, OSError, ModuleNotFoundError, *misconfigured)


def raised_here(error: BaseException) -> bool:
    """Whether a module of this package raised the error: not a user's, nor a library that one of them called."""
    frames = list(walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").split(".")[0] == "consistency_tta"


@contextmanager
def one_line_errors(concerned: Callable[[BaseException], bool] = lambda error: True) -> Iterator[None]:
    """Exit with the first cause of an error in what the user gave, instead of a traceback.

    CONSISTENCY_TTA_TRACEBACK=1 shows all tracebacks.

    Args:
        concerned: which errors; in training some are of the user's own code.
    """
    try:
        yield
    except user_errors() as error:
        if os.environ.get("CONSISTENCY_TTA_TRACEBACK") or not concerned(error):
            raise
        cause: BaseException = error
        while deeper := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
            cause = deeper
        message = str(cause if isinstance(cause, user_errors()) else error)
        raise SystemExit(f"error: {message}\n(CONSISTENCY_TTA_TRACEBACK=1 shows where)") from error

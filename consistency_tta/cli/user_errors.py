"""Errors in what the user gave, in one line instead of a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import walk_tb

from consistency_tta.cli.parser_messages import without_types


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


def raised_in(error: BaseException, module: str) -> bool:
    """Whether a module, or a package's, raised the error, or what it has called."""
    names = (f"{frame.f_globals.get('__name__')}." for frame, _ in walk_tb(error.__traceback__))
    return any(name.startswith(f"{module}.") for name in names)


def raised_last_in(error: BaseException, modules: tuple[str, ...]) -> bool:
    """Whether one of the modules, or a package's, was the last to run before torch, if that, raised the error."""
    names = [f"{frame.f_globals.get('__name__')}." for frame, _ in walk_tb(error.__traceback__)]
    names = [name for name in names if not name.startswith("torch.")]
    return bool(names) and names[-1].startswith(tuple(f"{module}." for module in modules))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Errors in what the user gave: an error and its causes, the outermost first.

    The first one of this package has the best message. What is outside of it, a library made of it, such as one that
    resolves the values of a configuration; what is inside of it, this package has put into its own words.
    """
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, user_errors()):
            yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


#: What to do about errors of the system, by their numbers.
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ": make it readable and writable, or name another place"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ": free some space, or name another place"),
    errno.ENAMETOOLONG: ": name a shorter one",
    errno.EMFILE: ": raise the limit of open files, as by `ulimit -n 4096`",
}


def _said(error: BaseException) -> str:
    """An error's message; of the system's errors without their number, but with what to do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"cannot read or write {error.filename}: {error.strerror}{REMEDIES.get(error.errno or 0, '')}"
    return str(error)


@contextmanager
def one_line_errors(concerned: Callable[[BaseException], bool] = lambda error: True) -> Iterator[None]:
    """Exit with an error in what the user gave, in one line instead of a traceback.

    CONSISTENCY_TTA_TRACEBACK=1 shows all tracebacks.

    Args:
        concerned: which errors; in training some are of the user's own code.
    """
    try:
        yield
    except user_errors() as error:
        if os.environ.get("CONSISTENCY_TTA_TRACEBACK") or not concerned(error):
            raise
        shown = next((cause for cause in chain(error) if raised_here(cause)), error)
        message = without_types(_said(shown)) or type(shown).__name__
        raise SystemExit(f"error: {message}\n(CONSISTENCY_TTA_TRACEBACK=1 shows where)") from error

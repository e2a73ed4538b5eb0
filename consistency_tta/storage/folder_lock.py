"""Folders that one run at a time writes to.

A lock of the system (POSIX, ``fcntl``) on a small file in the folder: it ends with its process, however that ends, is
not inherited by processes that it forks, such as workers that load data, and holds over network file systems that have
locks.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from consistency_tta.runtime.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # Windows has no locks of this kind
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

NAME = ".in_use"
#: Seconds that a killed process is waited for, whose memory the system may still be freeing.
PATIENCE = 10.0
#: The same on another machine: servers of NFS 4 keep the locks of a machine that is gone for 90 seconds.
LEASE = 100.0
#: What the system says of a lock that another process has.
TAKEN = (errno.EACCES, errno.EAGAIN)

_held: dict[Path, int] = {}
os.register_at_fork(after_in_child=_held.clear)  # a child has no locks of its parent


def hold_folder(folder: Path) -> None:
    """Make a folder and keep other runs out of it until :func:`release_folders`, or until this process ends.

    Raises:
        ConfigurationError: if another process holds it, or it cannot be written to.
    """
    place = folder.resolve() / NAME
    if fcntl is None or place in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _wait(place, _take)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {folder} ({error}): make it writable, free some space, or name another folder"
        ) from error


def check_folder_free(folder: Path) -> None:
    """Raise a ConfigurationError if another process holds a folder; nothing is written."""
    if fcntl is not None:
        _wait(folder.resolve() / NAME, _is_free)


def release_folders() -> None:
    """Let other runs write to all folders that this process holds."""
    while _held:
        place, descriptor = _held.popitem()
        with suppress(OSError):
            place.unlink()
        os.close(descriptor)


def _wait(place: Path, attempt: Callable[[Path], bool]) -> None:
    """Try for as long as a process that was killed may still seem to be there."""
    started, told = time.monotonic(), False
    while not attempt(place):
        try:
            host, process = place.read_text().split()
        except (OSError, ValueError):  # it is just being made or removed
            host, process = socket.gethostname(), "unknown"
        if time.monotonic() - started >= (PATIENCE if host == socket.gethostname() else LEASE):
            raise ConfigurationError(
                f"expected a folder that no other run writes to, got {place.parent}: process {process} on {host} does: "
                "give each run a dirpath or --trainer.default_root_dir of its own, or wait until that one has ended; "
                f"if there is no such process any more, remove {place}"
            )
        if not told:
            log.warning("%s: waits for process %s on %s, which writes there", place.parent, process, host)
            told = True
        time.sleep(0.1)


def _take(place: Path) -> bool:
    """Lock a file, which is made where there is none; whether it could be had."""
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in TAKEN:
            log.warning("%s: the file system has no locks (%s): let no other run write there", place.parent, error)
        return error.errno not in TAKEN
    if not place.exists() or place.stat().st_ino != os.fstat(descriptor).st_ino:  # the run before has just removed it
        os.close(descriptor)
        return False
    _held[place] = descriptor
    with suppress(OSError):  # on a full disk it is only unknown who holds it
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{socket.gethostname()} {os.getpid()}".encode())
    return True


def _is_free(place: Path) -> bool:
    if place in _held or not place.is_file():
        return True
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in TAKEN
    finally:
        os.close(descriptor)
    return True

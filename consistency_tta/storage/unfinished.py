"""Files and folders that are being written, and what is left of those whose process was killed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from pathlib import Path

#: Seconds without a change after which another machine's process is taken to be dead.
ABANDONED = 24 * 3600


def unfinished(place: Path) -> Path:
    """Where this process writes what it then renames to ``place``, in the same folder and so on the same disk."""
    return place.with_name(f".{place.name}.{socket.gethostname()}-{os.getpid()}.partial")


def remove_unfinished(folder: Path) -> None:
    """Remove from a folder what processes were writing when they were killed.

    Of processes of this machine it is known whether they run. What others left, such as a container or a node that had
    another name, is removed a day after its last change.
    """
    for left in folder.glob(".*.partial"):
        if _abandoned(left):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _abandoned(left: Path) -> bool:
    """Whether the process that was writing a file or folder is dead, or taken to be so."""
    if here := re.fullmatch(rf".*\.{re.escape(socket.gethostname())}-(\d+)\.partial", left.name):
        return not _runs(int(here[1]))
    if not re.fullmatch(r"\..+\..+-\d+\.partial", left.name):
        return False
    try:
        changed = max(path.lstat().st_mtime for path in (left, *left.rglob("*")))
    except FileNotFoundError:  # it is being renamed or removed
        return False
    return time.time() - changed > ABANDONED


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

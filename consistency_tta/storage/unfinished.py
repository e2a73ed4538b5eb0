"""Files and folders that are being written, and what is left of those whose process was killed."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path


def unfinished(place: Path) -> Path:
    """Where this process writes what it then renames to ``place``, in the same folder and so on the same disk."""
    return place.with_name(f".{place.name}.{socket.gethostname()}-{os.getpid()}.partial")


def remove_unfinished(folder: Path) -> None:
    """Remove from a folder what processes of this machine were writing when they were killed."""
    for left in folder.glob(".*.partial"):
        writer = re.fullmatch(rf".*\.{re.escape(socket.gethostname())}-(\d+)\.partial", left.name)
        if writer and not _runs(int(writer[1])):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

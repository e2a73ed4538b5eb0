"""Other processes that hold a folder, or find it held."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consistency_tta.storage.folder_lock import NAME

#: Another process that holds the file of its argument, and then waits; without this package's seconds of imports.
HOLDER = """
import fcntl, os, socket, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.write(descriptor, f"{sys.argv[2] or socket.gethostname()} {os.getpid()}".encode())
print("holds", flush=True)
time.sleep(600)
"""
#: Whether another process can lock the file of its argument: exit status 0 or 1.
TAKER = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


@contextmanager
def another_process(folder: Path, host: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a folder, killed at the end."""
    command = [sys.executable, "-S", "-c", HOLDER, str(folder / NAME), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def taken(folder: Path) -> bool:
    """Whether another process finds the folder held."""
    return bool(
        subprocess.run([sys.executable, "-S", "-c", TAKER, folder / NAME], stderr=subprocess.DEVNULL).returncode
    )

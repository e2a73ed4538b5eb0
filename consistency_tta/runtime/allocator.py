"""Memory that networks free is kept for the next ones, on Linux."""

from __future__ import annotations

import ctypes
import sys

#: Names of ``malloc.h`` of the GNU C library: the free memory that is kept, and the size above which it is not.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory(megabytes: int = 512) -> bool:
    """Have the C library keep the memory that is freed, up to so much, instead of returning it to the system.

    A network allocates and frees some megabytes in each layer. The system zeroes each page anew, which took a third of
    the CPU time of a small vocoder.

    Returns:
        Whether the C library is GNU's, which alone has the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # 32 MiB is the highest value that it takes for the second one.
    kept = library.mallopt(M_TRIM_THRESHOLD, megabytes << 20)
    return bool(kept and library.mallopt(M_MMAP_THRESHOLD, 32 << 20))


def return_freed_memory() -> None:
    """Return the kept memory to the system, before memory is measured; does nothing without GNU's C library."""
    if sys.platform.startswith("linux") and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)

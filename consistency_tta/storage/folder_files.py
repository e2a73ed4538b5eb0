"""All files below a folder, where links may lead back to a folder above them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

#: A folder's device and number, which are the same whatever way leads to it.
Identity = tuple[int, int]


def files_below(folder: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """All files below a folder; links to folders are followed, but not to one that the link itself is in.

    ``os.walk(followlinks=True)`` follows such a link forty times, and two of them in all orders: for ever.

    Args:
        folder: to look in.
        onerror: is given the error of a folder that cannot be read; by default it is left out.
    """
    above: dict[Path, set[Identity]] = {folder: set()}
    for directory, below, names in os.walk(folder, followlinks=True, onerror=onerror):
        place = Path(directory)
        here = above.pop(place, set()) | _identities(place)
        inner = {name: place / name for name in below}
        below[:] = [name for name, path in inner.items() if not _identities(path) & here]
        above |= {inner[name]: here for name in below}
        yield from (place / name for name in names)


def _identities(folder: Path) -> set[Identity]:
    """The folder's identity; none if it was removed in the meantime."""
    try:
        status = folder.stat()
    except OSError:
        return set()
    return {(status.st_dev, status.st_ino)}

"""Folders that take another's place without losing it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path

from consistency_tta.storage.unfinished import remove_unfinished, unfinished


def make_room(place: Path) -> Path | None:
    """Leave nothing at a place: rename what is there to ``<name>.1``, or to the next number that is free.

    A folder whose files all have another name as well (hard links, as :func:`publish` makes them) is removed.

    Returns:
        Where it is now; None if nothing was there, or only links were removed.
    """
    while place.exists() or place.is_symlink():
        try:
            if _only_links(place):
                shutil.rmtree(place)
                return None
            numbered = (place.with_name(f"{place.name}.{number}") for number in count(1))
            kept = next(path for path in numbered if not path.exists() and not path.is_symlink())
            place.rename(kept)
        except FileNotFoundError:  # another run has moved or removed it meanwhile
            continue
        except OSError as error:
            # Another run has taken the number, or what is to be removed; shutil takes that for a link, without errno.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, None):
                raise
        else:
            return kept
    return None


def keep_copy(file: Path) -> Path | None:
    """Copy a file that is about to be replaced to ``<name>.1``, or to the next number that is free.

    Unlike :func:`make_room` it leaves the file, which another process of the same run may be reading.

    Returns:
        The copy; None if there is no file.
    """
    if not file.is_file():
        return None
    for number in count(1):
        kept = file.with_name(f"{file.name}.{number}")
        with suppress(FileExistsError), kept.open("xb") as copy:
            copy.write(file.read_bytes())
            return kept
    raise AssertionError


def _only_links(place: Path) -> bool:
    if not place.is_dir() or place.is_symlink():
        return False
    files = [file for file in place.rglob("*") if not file.is_dir()]
    return all(file.stat(follow_symlinks=False).st_nlink > 1 for file in files)


def publish(folder: Path, place: Path) -> Path | None:
    """Make a finished folder available at another place, too, by links to its files (copies where links cannot be).

    Args:
        folder: which stays as it is.
        place: where its files are to be found as well; what was there is treated by :func:`make_room`.

    Returns:
        As :func:`make_room`.
    """
    with suppress(FileNotFoundError):  # nothing is there, or another run has just moved it
        if place.samefile(folder):
            return None
    partial = unfinished(place)
    remove_unfinished(place.parent)
    kept = None
    try:
        shutil.copytree(folder, partial, copy_function=_link)
        while partial.exists():
            kept = make_room(place) or kept
            try:
                partial.rename(place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another run has published meanwhile
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return kept


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)

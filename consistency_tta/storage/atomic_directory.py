"""Folders, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.unfinished import remove_unfinished, unfinished


def require_empty(output: Path) -> None:
    """Raise if there is already something where a folder is to be written."""
    if output.is_dir():
        remove_unfinished(output)
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise ConfigurationError(f"{output} exists already: give another --output, or remove it first")


def check_folder(output: Path, option: str) -> None:
    """Raise if files cannot be put into a folder, there already or not, because a file is in its place or above it.

    Args:
        output: the folder.
        option: whose value it is, for the message.
    """
    there = next(place for place in (output, *output.parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        raise NotADirectoryError(
            f"expected a folder for {option}, got {output}, but {there} is no folder: give another, or remove it first"
        )


@contextmanager
def atomic_directory(output: Path, last: str) -> Iterator[Path]:
    """A folder to write into, of the same name as ``output``; its files go to their place at the end.

    A full disk or an interruption leaves what was there before; what a killed process left is removed the next time.
    Where there is a folder already its other files stay, and each new one takes the place of the old at once. Whoever
    may read a folder may read its files: safetensors writes some that only their owner can.

    Args:
        output: where the files belong.
        last: the file that makes it complete, moved last.

    Raises:
        OSError: if the disk is full, or may not be written to.
    """
    output = output.absolute()
    # On the same disk in either case, and where one may write.
    beside = output / unfinished(output).name if output.is_dir() else unfinished(output)
    folder = beside / output.name
    remove_unfinished(beside.parent)
    try:
        folder.mkdir(parents=True)
        yield folder
        # A new folder's mode is what the umask leaves.
        mode = folder.stat().st_mode & 0o666
        files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.name == last)
        for file in files:
            file.chmod(mode)
        if not output.exists():
            folder.rename(output)
            return
        for file in files:
            place = output / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    except SafetensorError as error:  # no error of the system, though it passes one on
        if "Error while serializing" not in str(error):
            raise
        raise OSError(f"cannot write {output} ({error}): free some space, or name another place") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)

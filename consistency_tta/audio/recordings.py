"""Folders of recordings, the reference of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from consistency_tta.audio.sound_file import BadClip, Fault, Sound, read_whole
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.captions import EXTENSIONS
from consistency_tta.storage.folder_files import files_below

#: Recordings that a message names.
NAMED = 3


def recordings(folder: Path, least: int = 1) -> list[Path]:
    """All sound files in a folder and its subfolders, in order.

    Args:
        folder: with wav, flac, ogg and mp3 files.
        least: how many there must be.

    Raises:
        FileNotFoundError: there are fewer.
    """
    # Links to folders are followed, as where recordings are looked up by their clips' names.
    files = sorted(path for path in files_below(folder) if path.suffix.lower() in EXTENSIONS)
    if len(files) < least:
        raise FileNotFoundError(
            f"expected at least {least} recording{'s' * (least != 1)} ({', '.join(EXTENSIONS)}) in {folder}, got "
            f"{len(files)}"
        )
    return files


def check_recordings(folder: Path, least: int = 1, min_seconds: float = 0.0, num_threads: int = 8) -> None:
    """Decode all of a folder's recordings, before hours are spent on what is measured against them.

    Args:
        folder, least: as :func:`recordings` takes them.
        min_seconds: the shortest that is kept.
        num_threads: files decoded at a time.

    Raises:
        FileNotFoundError: there are too few.
        DataError: some cannot be used, with their names and what is wrong with them.
    """
    files = recordings(folder, least)
    # Threads, not processes: libsndfile does the work and does not hold Python's lock.
    with ThreadPoolExecutor(num_threads) as pool:
        looked = zip(files, pool.map(partial(_fault, min_seconds=min_seconds), files), strict=True)
        faults = [f"{file.relative_to(folder)} ({fault})" for file, fault in looked if fault]
    if faults:
        more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise DataError(
            f"expected recordings that can be used in {folder}, got {len(faults)} of {len(files)} that cannot, "
            f"{', '.join(faults[:NAMED])}{more}: replace or remove them"
        )


def read_recording(file: Path) -> Sound:
    """All of a file.

    Raises:
        DataError: it cannot be used, with its name.
    """
    try:
        return read_whole(file)
    except BadClip as bad:
        raise DataError(f"{file}: {bad}: replace or remove it") from None


class SoundFiles:
    """Files that are read each time they are iterated, so that memory holds few of them at a time.

    Args:
        files: in order.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __iter__(self) -> Iterator[Sound]:
        """Each file's sound.

        Raises:
            DataError: a file cannot be used, with its name.
        """
        return map(read_recording, self.files)


def _fault(file: Path, min_seconds: float) -> str:
    """What is wrong with a file; empty if nothing is."""
    try:
        sound = read_whole(file)
        if (seconds := len(sound.waveform) / sound.sample_rate) < min_seconds:
            raise BadClip(Fault.TOO_SHORT, f"{seconds:.3f} s, expected at least {min_seconds:.3f} s")
    except BadClip as bad:
        return str(bad)
    return ""

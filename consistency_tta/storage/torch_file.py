"""Files that ``torch.save`` wrote: ZIP archives whose parts lie in them as they are."""

from __future__ import annotations

import zipfile
from pathlib import Path


def is_mappable(path: str | Path) -> bool:
    """Whether ``torch.load(path, mmap=True)`` gives the file's values.

    From an archive that another program has compressed, torch takes the compressed bytes for the values, without an
    error.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
    except zipfile.BadZipFile:  # such as torch's files before 1.6
        return False

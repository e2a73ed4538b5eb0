"""The files of a model folder's parts: damaged ones are named before libraries read them, and fail in their ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.storage.text import parse_json, read_text

LFS_POINTER = b"version https://git-lfs"


def check_files(folder: Path, parts: Iterable[str], variant: str | None = None) -> None:
    """Check that settings are JSON objects, that weights have them, and that files of weights are whole.

    Of weights only the header is read, and compared with the file's length.

    Args:
        folder: of the model.
        parts: names of those that will be read; a part without a folder is another's matter.
        variant: as :func:`weight_files` takes it.

    Raises:
        DataError: a file is no text, or no JSON, with its name.
        ModelFolderError: settings are missing or no object, or weights are cut off or no safetensors file.
    """
    for place in (folder / part for part in sorted(parts)):
        for file in _visible(place, "*.json"):
            _check_json(file)
        for file in weight_files(place, variant):
            _check_weights(file)
            if not (place / "config.json").is_file():
                raise ModelFolderError(f"expected config.json beside {file}, got none: copy the whole folder")


def weight_files(place: Path, variant: str | None = None) -> list[Path]:
    """The files of weights that are read of a part's folder.

    Args:
        place: the folder.
        variant: such as ``fp16`` for ``model.fp16.safetensors``, which is read where it is there; None for files
            without one. Other variants may be anything, such as the pointers of a clone that fetched one variant.
    """
    files: dict[str, list[Path]] = {}
    for file in _visible(place, "*.safetensors"):
        name = re.sub(r"-\d+-of-\d+", "", file.stem)  # a part of weights that are split among files
        files.setdefault(name.partition(".")[2], []).append(file)
    return files.get(variant or "") or files.get("", [])


def _visible(place: Path, pattern: str) -> list[Path]:
    """Files without those that a macOS puts beside them, such as ``._config.json``."""
    return sorted(file for file in place.glob(pattern) if not file.name.startswith("."))


def _check_json(file: Path) -> None:
    if not file.is_file():
        raise ModelFolderError(f"expected a file of JSON, but {file} is a folder or a link to nothing: copy it again")
    if file.name.endswith("config.json"):
        content = parse_json(read_text(file), str(file))
        if not isinstance(content, dict):
            raise ModelFolderError(f"expected an object with settings in {file}, got {content!s:.40}: copy it again")
        return
    try:
        json.loads(read_text(file))  # such as a vocabulary, which may have anything in it
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"expected JSON in {file}, got something else ({error!s:.80}): copy it again") from None


def _check_weights(file: Path) -> None:
    try:
        with safe_open(file, framework="pt"):
            return
    except SafetensorError as error:
        with file.open("rb") as stream:
            is_pointer = stream.read(len(LFS_POINTER)) == LFS_POINTER
        fault = (
            "is a Git LFS pointer, not the weights themselves: run `git lfs pull`"
            if is_pointer
            else f"is cut off, or no safetensors file ({error}): copy it again"
        )
        raise ModelFolderError(f"{file} {fault}") from None

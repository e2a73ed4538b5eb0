"""Folders of encoded clips that lie elsewhere, or as Parquet: copied once to this machine as memory-mapped safetensors.

Any file system of ``fsspec`` is read (https://filesystem-spec.readthedocs.io), such as ``s3://``, ``gs://``,
``https://`` and ``hf://datasets/owner/name/folder``, with its own settings and credentials. Training then reads what
``encode`` would have written as safetensors, byte for byte, and needs the network no more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.torch import load
from tqdm import tqdm

from consistency_tta.runtime.errors import ConfigurationError, DataError, MissingExtraError, shortened
from consistency_tta.storage.atomic_file import write_file
from consistency_tta.storage.encoding_manifest import MANIFEST, parse_manifest, read_manifest
from consistency_tta.storage.parquet_shards import from_parquet
from consistency_tta.storage.shards import captions_file, latents_file, write_shard
from consistency_tta.storage.unfinished import remove_unfinished

logger = logging.getLogger(__name__)

#: Next to the copies of an address, which are named by checksums: what it is.
ADDRESS = "address.txt"


def local_copy(address: str, cache: str | Path | None = None) -> Path:
    """Where the clips of a folder can be read as safetensors: the folder itself, or a copy that is made if need be.

    A copy is of one run of ``encode``: another one at the same address is copied, too. Copies go on where they were
    stopped, and several processes may make one at once. Without the network the newest whole copy is taken.

    Args:
        address: a folder that ``encode`` wrote, on a disk or in a file system of fsspec.
        cache: where copies are kept; ``consistency-tta`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``, if None.

    Raises:
        ConfigurationError: there is no file system for the address.
        MissingExtraError: the package for it is not installed, or pyarrow for Parquet.
        FileNotFoundError: there is no manifest at the address, or a file is missing.
        DataError: a file cannot be had or is not whole, or the copy cannot be written; the message names it.
    """
    files, root = _file_system(address)
    on_disk = isinstance(files, LocalFileSystem)
    if on_disk and not any(Path(root).glob("latents-*.parquet")):
        return Path(root)
    place = root if on_disk else address.rstrip("/")
    copies = Path(cache or _default_cache()).expanduser() / hashlib.sha256(place.encode()).hexdigest()[:16]
    try:
        content = _read(files, root, MANIFEST, address)
    except DataError as error:
        whole = [folder for folder in copies.glob("*") if _is_whole(folder)]
        if not whole:
            raise
        logger.warning(f"{error}; the copy that was made before is read")
        return max(whole, key=lambda folder: (folder / MANIFEST).stat().st_mtime)
    manifest = parse_manifest(content.decode(errors="replace"), f"{address}/{MANIFEST}")
    folder = copies / hashlib.sha256(content).hexdigest()[:16]
    try:
        if _is_whole(folder):
            with suppress(OSError):  # a cache that several users share may be read-only
                (folder / MANIFEST).touch()  # the newest is the one that was used last
        else:
            remove_unfinished(folder)
            without_password = re.sub("//[^/@]*@", "//", place)
            write_file(copies / ADDRESS, f"{without_password}\n".encode())
            write_file(folder / MANIFEST, content)
            _fetch(files, root, address, folder, manifest)
    except FileNotFoundError:  # at the address
        raise
    except OSError as error:
        raise DataError(
            f"cannot write the copy of {address} to {folder} ({error.strerror or error}): free some space, or name "
            "another folder as --data.cache_folder"
        ) from error
    return folder


def _fetch(files: Any, root: str, address: str, folder: Path, manifest: dict[str, Any]) -> None:
    """Copy the shards that are missing in a folder."""
    file_format = manifest.get("format", "safetensors")
    missing = [number for number in range(manifest["shards"]) if not latents_file(folder, number).exists()]
    for number in tqdm(missing, desc=f"copying {address}", unit="file"):
        name = latents_file(folder, number, file_format).name
        content = _read(files, root, name, address)
        if file_format == "parquet":
            tensors, captions, ids = from_parquet(content, f"{address}/{name}")
            write_shard(folder, number, tensors.pop("moments"), captions, ids, tensors)
            continue
        try:
            clips = len(load(content)["moments"])
        except (SafetensorError, KeyError) as error:
            raise DataError(
                f"{address}/{name}: expected a whole file of latents, got one that cannot be read "
                f"({shortened(error)}): copy it there again"
            ) from error
        copied_captions = captions_file(latents_file(folder, number))
        captions_content = _read(files, root, copied_captions.name, address)
        _check_captions(captions_content, clips, f"{address}/{copied_captions.name}")
        write_file(copied_captions, captions_content)
        write_file(latents_file(folder, number), content)


def _check_captions(content: bytes, clips: int, name: str) -> None:
    """Raise DataError where a file has no line ``{"id": ..., "caption": ...}`` for each of the clips."""
    lines = [line for line in content.split(b"\n") if line]
    try:
        found = [json.loads(line.decode("utf-8-sig")) for line in lines]
    except (ValueError, RecursionError):
        found = []
    whole = [clip for clip in found if isinstance(clip, dict)]
    whole = [clip for clip in whole if isinstance(clip.get("id"), str) and isinstance(clip.get("caption"), str)]
    if not len(whole) == len(lines) == clips:
        raise DataError(
            f"{name}: expected {clips} lines that are objects with id and caption, got {len(lines)} lines beginning "
            f"with {content[:40]!r}: copy it there again"
        )


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the folder's path in it."""
    if "://" not in address:
        return LocalFileSystem(), str(Path(address).absolute())
    try:
        files, root = url_to_fs(address)
    except ImportError as error:
        raise MissingExtraError(f"{address} needs a package that is not installed: {error}") from error
    except Exception as error:  # each file system has errors of its own
        raise ConfigurationError(
            f"expected a folder, or the address of one in a file system of fsspec, got {address}: {shortened(error)}"
        ) from error
    return files, root.rstrip("/")


def _read(files: Any, root: str, name: str, address: str) -> bytes:
    """The content of a file."""
    try:
        return files.cat_file(f"{root}/{name}")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"expected {name} in {address}, which does not exist: give a folder that `encode` wrote, with all its files"
        ) from error
    except Exception as error:  # each file system has errors of its own
        raise DataError(f"cannot read {name} in {address}: {type(error).__name__}: {shortened(error)}") from error


def _is_whole(folder: Path) -> bool:
    """Whether a copy has all of its shards."""
    manifest = read_manifest(folder)
    return manifest is not None and all(latents_file(folder, number).exists() for number in range(manifest["shards"]))


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "consistency-tta"

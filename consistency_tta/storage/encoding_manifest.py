"""``encoding.json``: by which command and which networks a folder of latents was encoded.

    shards      number of files of latents in the whole folder
    format      of these, if it is not safetensors
    begun       when, in UTC, which tells this folder from a later one by the same command
    command     the settings, the data and their order
    codec       {model, sha256} of the autoencoder; so for each of text, audio and teacher that is there

It is written before the first shard. A folder is complete when it has all of its shards, each of which is whole: so
processes need not agree on which of them is the last.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.atomic_file import write_file
from consistency_tta.storage.shards import Format
from consistency_tta.storage.text import parse_json, read_text

MANIFEST = "encoding.json"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A folder's manifest; None if it has none.

    Raises:
        DataError: it is not what ``encode`` writes.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return None
    return parse_manifest(read_text(file), str(file))


def parse_manifest(text: str, name: str) -> dict[str, Any]:
    """The manifest in a file's text.

    Raises:
        DataError: it is not what ``encode`` writes; the message has the file's name.
    """
    manifest = parse_json(text, f"{name}, which `encode` wrote")
    shards = manifest.get("shards") if isinstance(manifest, dict) else None
    if type(shards) is not int or shards < 1:  # not true, which is an int, too
        raise DataError(f"{name}: expected what `encode` writes, with the number of shards: encode again")
    if manifest.get("format", "safetensors") not in get_args(Format):
        raise DataError(
            f"{name}: expected the format {' or '.join(get_args(Format))}, got {manifest['format']!s:.40}: update "
            "this package, or encode again"
        )
    return manifest


def begin(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a folder's manifest, or check that the one it has is of the same command, which then goes on.

    Models are compared by their checksums: the same networks encode alike wherever they lie.

    Raises:
        DataError: another command has written to the folder, or what wrote to it is not known.
    """
    found = read_manifest(folder)
    if found is not None:
        form = {"format": "safetensors"}  # which manifests do not say
        one, other = _flat(form | json.loads(json.dumps(manifest))), _flat(form | found)
        differences = [
            f"{key} {_short(other.get(key))} instead of {_short(one.get(key))}"
            for key in dict.fromkeys([*one, *other])
            if one.get(key) != other.get(key) and not key.endswith(".model") and key != "begun"
        ]
        if differences:
            raise DataError(
                f"{folder} was encoded by another command, with {', '.join(differences[:4])}: give another --output, "
                "or remove the folder"
            )
        return
    if any(folder.glob("latents-*")) and read_manifest(folder) is None:
        raise DataError(
            f"{folder} has latents, but no {MANIFEST} that describes how they were made: give another --output, or "
            "remove the folder"
        )
    manifest = manifest | {"begun": datetime.now(UTC).isoformat(timespec="seconds")}
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their path, such as ``codec.sha256``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _short(value: object) -> str:
    """A setting in a message; the first characters of a checksum."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else f"{value!s:.60}"

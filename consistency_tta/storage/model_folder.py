"""Resolves a model's name: a local folder, a bundled model, or a model of the hub."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from consistency_tta.runtime.errors import ConfigurationError, DataError, ModelFolderError
from consistency_tta.runtime.suggest import nearest
from consistency_tta.storage.bundled import PIPELINE, bundled_models, offer, resolve
from consistency_tta.storage.text import parse_json, read_text

#: Options for the revision of a hub model, and for how it is fetched.
HUB_OPTIONS = ("cache_dir", "revision", "token", "local_files_only", "force_download")


def model_folder(name: str | Path, **hub_options: Any) -> Path:
    """The folder of a :class:`consistency_tta.TextToAudioPipeline`.

    Args:
        name: a folder, a bundled model's name, or a hub id.
        hub_options: any of :data:`HUB_OPTIONS`; with ``allow_patterns`` some files of a model of the hub suffice.

    Raises:
        ConfigurationError: if it is not text or a path.
        FileNotFoundError: if it is none of these, or the folder is no model's.
    """
    if not isinstance(name, str | PathLike):
        raise ConfigurationError(f"expected a model folder, a bundled model's name or a hub id, got {name!r:.80}")
    name = resolve(name)
    folder = Path(name if Path(name).exists() else _fetch(name, **hub_options))
    if not (folder / PIPELINE).exists():
        # A part of a model, such as unet, or a training's folder with the model in it.
        near = next((other for other in (folder.parent, folder / "model") if (other / PIPELINE).exists()), None)
        remedy = f"did you mean {near}?" if near else "make one with `consistency-tta export`"
        raise FileNotFoundError(f"{folder} is no model folder, since it has no {PIPELINE}: {remedy}")
    return folder


def model_index(folder: Path) -> dict[str, Any]:
    """What a model folder consists of."""
    return parse_json(read_text(folder / PIPELINE), str(folder / PIPELINE))


def nested_too_deep(folder: Path) -> DataError:
    """The error for a model folder whose JSON is too deep to be read; names the file, if it can be found."""
    for file in sorted(folder.rglob("*.json")):
        try:
            parse_json(read_text(file), str(file))
        except DataError as error:
            return error
    return DataError(f"expected a few levels of JSON in the files of {folder}, got lists or objects nested too deep")


def base_folder(folder: Path, index: dict[str, Any]) -> Path | None:
    """The folder that another rests on, by its ``"_base"``: next to it or in it; None if it stands alone.

    Raises:
        ModelFolderError: it is elsewhere, or it rests on the folder itself.
        FileNotFoundError: there is none.
    """
    base = _named_base(folder, index)
    seen, next_base = {folder.resolve()}, base
    while next_base is not None:
        if next_base.resolve() in seen:
            raise ModelFolderError(f"{folder / PIPELINE} rests on itself by way of {next_base}: correct one's _base")
        seen.add(next_base.resolve())
        next_base = _named_base(next_base, model_index(next_base))
    return base


def _named_base(folder: Path, index: dict[str, Any]) -> Path | None:
    """The base of one folder."""
    if "_base" not in index:
        return None
    parts = Path(str(index["_base"])).parts
    climbs = parts.count("..")
    if Path(*parts).is_absolute() or climbs > 1 or (climbs and parts[0] != "..") or set(parts) <= {".."}:
        raise ModelFolderError(
            f"{folder / PIPELINE} has _base {index['_base']!r}: expected a folder next to this one, such as "
            "../tiny-teacher, or in it; put it there"
        )
    base = folder / Path(*parts)
    if not (base / PIPELINE).exists():
        raise FileNotFoundError(f"{folder} rests on {base}, which is no model folder: put it back there")
    return base


def _fetch(name: str, **options: Any) -> str:
    """The folder of a model of the hub, fetched or out of its cache.

    Not by diffusers, which takes components from its own modules or from code in the repository, and refuses others.
    """
    try:
        return snapshot_download(name, **options)
    except (OSError, ValueError) as error:  # all of the hub's are among them
        near = nearest(name, bundled_models())
        # A path on this machine cannot be an id, which the client would explain at length.
        sentence = re.split(r"[.\n]", str(error))[0]
        said = "" if near or name.count("/") > 1 else f". The hub's client: {sentence:.150}"
        hint = f": did you mean {near}?" if near else ": train it or convert it first, or name another"
        raise FileNotFoundError(
            f"{name} is neither a model folder here nor a model of the hub that is cached or can be reached "
            f"({offer()}){hint}{said}"
        ) from None

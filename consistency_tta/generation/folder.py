"""A folder of sounds, and its manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from consistency_tta.generation.plugin_name import plugin_name
from consistency_tta.generation.sampling_config import SamplingConfig, Sound
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.atomic_file import write_file
from consistency_tta.storage.text import parse_json, read_text

MANIFEST, CAPTIONS = "generation.json", "captions.csv"


@dataclass(frozen=True)
class Folder:
    """Sounds and how to make them.

    Attributes:
        path: of the folder.
        request: of all its sounds.
        sounds: at least one.
    """

    path: Path
    request: SamplingConfig
    sounds: Sequence[Sound]

    @property
    def missing(self) -> list[Sound]:
        """What is still to be made."""
        return [sound for sound in self.sounds if not is_made(self.path / sound.file)]

    @property
    def files(self) -> list[Path]:
        """All files, whether there or not."""
        return [self.path / sound.file for sound in self.sounds]


def is_made(file: Path) -> bool:
    """Whether a sound is there; a machine that failed may leave an empty file."""
    return file.exists() and file.stat().st_size > 0


def prepare(
    folder: Folder,
    model: dict[str, Any],
    default_steps: int,
    overwrite: bool = False,
    default_seconds: float | None = None,
) -> None:
    """Write a folder's manifest, or check that the one it has is the same.

    Args:
        folder: to be filled.
        model: its name, the SHA-256 of its ``weights``, its ``sampler``, the networks' ``dtype``, and what is known of
            its ``rewards``.
        default_steps: of the model.
        overwrite: empty a folder whose sounds were made otherwise, instead of raising.
        default_seconds: where the model cuts its sounds; None if they are as long as its latents.

    Raises:
        DataError: the folder has sounds of other settings, or of unknown ones, or another file of the table's name.
    """
    request = asdict(folder.request) | {"steps": folder.request.steps or default_steps}
    request["seconds"] = folder.request.seconds or default_seconds
    request["grid"] = None if folder.request.grid is None else plugin_name(folder.request.grid)
    pairs = [[sound.file, sound.caption] for sound in folder.sounds]
    captions = hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()
    manifest: dict[str, Any] = model | request | {"sounds": len(pairs), "captions": captions}
    try:
        found = read_manifest(folder.path)
    except DataError:
        if not overwrite:
            raise
        found = {}  # damaged: other settings than these
    if found is not None:
        found = {"dtype": "float32"} | found  # of folders from before the option dtype
        # The same weights make the same sounds wherever they lie, and whatever they were trained by. Folders from
        # before samplers do not name one.
        compared = manifest.keys() - {"model", "rewards"} - ({"sampler"} - found.keys())
        other = [name for name in manifest if name in compared and found.get(name) != manifest[name]]
        if not other:
            if read_manifest(folder.path) != manifest:
                write_file(folder.path / MANIFEST, _json(manifest))
            return None
        differences = ", ".join(
            f"{'number of ' * (name == 'sounds')}{name} {_short(found.get(name))} instead of {_short(manifest[name])}"
            for name in other
        )
        if not overwrite:
            raise DataError(
                f"{folder.path} has sounds of other settings ({differences}): give another output, or --overwrite true"
            )
        _empty(folder.path)
    if found is None:
        for table, content in _tables(folder).items():
            if table.exists() and table.read_bytes() != content:  # such as the caption file that is generated for
                raise DataError(f"{table} exists, and `generate` has not written it: give another output, or rename it")
    strangers = [path for path in folder.files if path.exists()]
    if strangers and not overwrite:
        if read_manifest(folder.path) is not None:  # another process has just begun
            return prepare(folder, model, default_steps, default_seconds=default_seconds)
        raise DataError(
            f"{strangers[0]} exists, but no {MANIFEST} that describes how it was made: give another output, or "
            "--overwrite true"
        )
    for path in strangers:
        path.unlink()
    write_tables(folder)
    write_file(folder.path / MANIFEST, _json(manifest))
    return None


def write_tables(folder: Folder) -> None:
    """Write ``captions.csv`` (file, caption) for each set of sounds, which ``evaluate`` reads."""
    for table, content in _tables(folder).items():
        write_file(table, content)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A folder's manifest; None if it has none."""
    file = folder / MANIFEST
    if not file.is_file():
        return None
    manifest = parse_json(read_text(file), f"{file}, which `generate` wrote")
    if not isinstance(manifest, dict):
        raise DataError(f"expected an object in {file}, which `generate` wrote, got {manifest!r:.40}")
    return manifest


def dtype_of(folder: Path) -> str | None:
    """In which number format a folder's sounds were made; None for a folder without a manifest."""
    manifest = read_manifest(folder)
    return None if manifest is None else manifest.get("dtype", "float32")


def weights_sha256(pipeline: TextToAudioPipeline) -> str:
    """SHA-256 of all weights of a model, in hexadecimal."""
    digest = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, torch.nn.Module):
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(f"{name}.{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def sampler_settings(pipeline: TextToAudioPipeline) -> dict[str, Any]:
    """Class and configuration of a model's sampler."""
    settings = {name: value for name, value in pipeline.sampler.config.items() if not name.startswith("_")}
    return {"class": type(pipeline.sampler).__qualname__} | settings


def write_sound(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """Write a waveform (samples,) or (channels, samples) as a 16-bit wav file, whole or not at all."""
    content = io.BytesIO()
    soundfile.write(content, waveform.movedim(-1, 0).numpy(), sample_rate, format="WAV", subtype="PCM_16")
    write_file(path, content.getvalue())


def _tables(folder: Folder) -> dict[Path, bytes]:
    """The files with the captions of each set of sounds, and what is in them."""
    rows: dict[Path, list[tuple[str, str]]] = {}
    for sound in folder.sounds:
        parent = folder.path if sound.number is None else folder.path / str(sound.number)
        rows.setdefault(parent / CAPTIONS, [("file", "caption")]).append((sound.name, sound.caption))
    tables = {}
    for table, lines in rows.items():
        text = io.StringIO(newline="")
        csv.writer(text).writerows(lines)
        tables[table] = text.getvalue().encode()
    return tables


def _empty(folder: Path) -> None:
    """Remove the sounds that a folder's tables name, and the tables."""
    for table in (folder / CAPTIONS, *folder.glob(f"*/{CAPTIONS}")):
        if table.is_file():
            with table.open(newline="", encoding="utf-8") as rows:
                for row in csv.DictReader(rows):
                    file = table.parent / (row.get("file") or "")
                    # A table of a folder from elsewhere may name any file of this machine.
                    if file.is_file() and file.resolve().is_relative_to(table.parent.resolve()):
                        file.unlink()
            table.unlink()


def _json(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2) + "\n").encode()


def _short(value: object) -> str:
    """A setting in a message; the first characters of a checksum."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else str(value)

"""Pairs the generated sounds with the recordings by the names of the clips, and lists the clips that have no pair."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consistency_tta.datamodules.clips import EXTENSIONS, AudioFolder, Clip, read_captions
from consistency_tta.evaluation.clip_names import ClipNames, NoClip, first_rows, locate
from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding, Pair
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.generation.folder import CAPTIONS, MANIFEST
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.folder_files import files_below


@dataclass
class Pairs:
    """The clips to evaluate.

    Attributes:
        pairs: in the order of the clip list.
        requested: number of clips of the protocol that the caption file names; all of them without such a file.
        left_out: clips that cannot be evaluated, and why.
        unused: files that belong to no clip of the list.
        other_captions: clips whose caption is not the protocol's.
    """

    pairs: list[Pair]
    requested: int
    left_out: list[Finding]
    unused: list[Finding]
    other_captions: list[str]


def numbered(generated: Path) -> list[Path]:
    """A folder of sounds; or those of 0, 1, ... in it that ``generate`` left there, of the captions of 0."""
    first = generated / "0" / CAPTIONS
    if not (generated / MANIFEST).is_file() or not first.is_file():
        return [generated]  # whatever else is in a folder named so
    tables = [table for table in generated.glob(f"*/{CAPTIONS}") if table.parent.name.isdecimal()]
    # With --all_captions there are sounds of other captions, too.
    sets = [table.parent for table in tables if table.read_bytes() == first.read_bytes()]
    return sorted(sets, key=lambda folder: int(folder.name))


def find_pairs(
    protocol: Protocol, generated: Path, reference: Path, captions: Path | None = None, more: Sequence[Path] = ()
) -> Pairs:
    """Match the clips of a protocol with the files of two folders.

    Args:
        protocol: whose clips.
        generated, reference: folders with wav, flac, ogg and mp3 files, named as the clips.
        captions: caption file (AudioCaps CSV, or TANGO's JSON lines) that lists which of the protocol's clips were
            generated, with which captions; the first caption of a clip counts. Required where the protocol has no list.
        more: folders with more generated sounds of the same clips, all of which a clip must have.

    Raises:
        FileNotFoundError: a folder or file is missing, or a folder has no audio.
        ValueError: the caption file cannot be understood, or the protocol needs one.
    """
    source = captions or protocol.clip_list
    if source is None:
        raise ConfigurationError(
            f"expected --captions with {protocol.clips.number} clips, since {protocol.name} comes without its list"
        )
    others = {f"{GENERATED}, {folder.name}": folder for folder in more}
    folders = {side: AudioFolder(at) for side, at in {GENERATED: generated, REFERENCE: reference, **others}.items()}
    found = {side: read_captions(source, folder) for side, folder in folders.items()}
    files = {side: _files(folder.folder) for side, folder in folders.items()}
    names = None if protocol.clip_list is None else ClipNames(protocol, protocol.clip_list)
    result = Pairs([], 0, [], [], [])
    for row, *clips in zip(first_rows(source), *found.values(), strict=True):
        if names is not None:
            try:
                meant = names.claim(row)
            except NoClip as error:
                result.left_out.append(Finding(clips[0].id, "captions", error.reason, error.detail))
                continue
            for clip, folder in zip(clips, folders.values(), strict=True):
                clip.id = meant.name
                locate(clip, folder, row, meant)
            if meant.caption != row.caption:
                result.other_captions.append(meant.name)
        result.requested += 1
        faults = [_fault(clip, side, files[side]) for side, clip in zip(folders, clips, strict=True)]
        result.left_out += [fault for fault in faults if fault is not None]
        if not any(faults):
            made, recorded, *rest = (clip.path for clip in clips)
            result.pairs.append(Pair(clips[0].id, row.caption, made, recorded, dict(zip(others, rest, strict=True))))
    for side, clips in found.items():
        claimed = {path for clip in clips for path in _bearers(clip, files[side])}
        for path in sorted(path for several in files[side].values() for path in several if path not in claimed):
            name = path.relative_to(folders[side].folder).as_posix()
            detail = f"no row of {source.name} names it, or its clip has a likelier file"
            result.unused.append(Finding(name, side, "no caption", detail))
    return result


def _files(folder: Path) -> dict[Path, list[Path]]:
    """The audio files below a folder, by their path without extension."""
    files: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in files_below(folder):
        if path.suffix.lower() in EXTENSIONS:
            files[path.with_suffix("")].append(path)
    return files


def _bearers(clip: Clip, files: dict[Path, list[Path]]) -> list[Path]:
    """The files that differ from a clip's by their extensions at most; none for a clip without a file."""
    several = files.get(clip.path.with_suffix(""), [])
    return several if clip.path in several else []


def _fault(clip: Clip, side: str, files: dict[Path, list[Path]]) -> Finding | None:
    """A fault of a clip's file that its name alone shows."""
    if clip.ambiguous:
        return Finding(clip.id, side, "ambiguous", clip.ambiguous)
    bearers = _bearers(clip, files)
    if not bearers:
        looked_for = clip.missing or "no file for this clip"
        return Finding(clip.id, side, "missing", "; ".join([looked_for, *_likeness(clip.path)]))
    if len(bearers) > 1:
        names = ", ".join(sorted(path.name for path in bearers))
        return Finding(clip.id, side, "duplicate", f"{names}: keep the one that is meant")
    return None


def _likeness(path: Path) -> list[str]:
    """The folders that have a missing file's name."""
    others = sorted(path.parent.glob(f"{glob.escape(path.name)}.*")) if path.parent.is_dir() else []
    return [f"{other.name} is a folder" for other in others if other.is_dir()]

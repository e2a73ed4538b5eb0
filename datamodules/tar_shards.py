"""Sounds and captions in WebDataset's tar files, each of which can be read by itself.

    T. Breuel, "WebDataset", https://github.com/webdataset/webdataset

The members ``a/dog.flac`` and ``a/dog.json`` are the clip ``a/dog``: its name ends at the first dot of the last part. A
tar file that is not compressed has its members' bytes as they are, so that one pass over the headers finds them all and
any clip can be read at any time. Training then has the order, the resuming and the share of each process that other
datamodules have, which WebDataset's own reading from front to back cannot give.
"""

from __future__ import annotations

import glob
import logging
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from consistency_tta.audio.bad_clip import BadClip, Fault
from consistency_tta.audio.sound_source import SoundBytes
from consistency_tta.datamodules.clips import EXTENSIONS, new_id
from consistency_tta.datamodules.embedded_clips import EmbeddedClip
from consistency_tta.datamodules.embedded_times import Times
from consistency_tta.datamodules.tar_captions import CAPTION_KEYS, read_text
from consistency_tta.runtime.errors import DataError

log = logging.getLogger(__name__)


@dataclass
class TarShard:
    """The sounds of a tar file.

    Attributes:
        path: of the tar file.
        members: name, first byte and number of bytes of each sound.
    """

    path: Path
    members: list[tuple[str, int, int]] = field(default_factory=list)

    def sound(self, index: int) -> SoundBytes:
        """The bytes of a sound; see :class:`~consistency_tta.datamodules.embedded_clips.SoundContainer`."""
        name, start, size = self.members[index]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(size)
        except OSError as error:
            raise BadClip(Fault.UNREADABLE, str(error)) from error
        if len(data) < size:
            raise BadClip(Fault.TRUNCATED, f"{len(data):,} bytes of {size:,} are left in {self.path}")
        return SoundBytes(f"{self.path}/{name}", data)


def shard_files(shards: str | list[str]) -> list[Path]:
    """Tar files in order.

    Args:
        shards: a tar file, a folder with some, a pattern such as ``shards/train-*.tar``, or a list of these.

    Raises:
        FileNotFoundError: if one of them is not there, or a folder or pattern has no tar file.
    """
    files: list[Path] = []
    for given in [shards] if isinstance(shards, str) else shards:
        path = Path(given)
        found = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.is_file() else []
        found = found or sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207  # of any folder
        found = [file for file in found if file.is_file()]
        if not found:
            raise FileNotFoundError(
                f"expected a tar file, a folder with some or a pattern such as train-*.tar, got {given}, where there "
                "is none: download shards first"
            )
        files += found
    return files


def read_shards(shards: str | list[str]) -> list[EmbeddedClip]:
    """The clips of tar files, in their order.

    Args:
        shards: as :func:`shard_files` takes them.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a file is no tar file or is compressed, no file has a sound, or a clip has no caption, or one that
            cannot be used.
    """
    ids: set[str] = set()
    clips = [clip for file in shard_files(shards) for clip in _read_shard(file, ids)]
    if not clips:
        raise DataError(f"expected sounds ({', '.join(EXTENSIONS)}) in {shards}, got none: look at `tar --list`")
    return clips


def _read_shard(path: Path, ids: set[str]) -> list[EmbeddedClip]:
    shard = TarShard(path)
    captions: dict[str, list[str]] = {}
    times: dict[str, Times | None] = {}
    sounds: dict[str, int] = {}
    unread: list[str] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, slash, name = member.name.removeprefix("./").rpartition("/")
                stem, _, ending = name.partition(".")
                key, ending = folder + slash + stem, "." + ending.lower()
                if not member.isreg() or not stem:
                    continue
                if member.issparse():  # its bytes are not all there, nor where they would be
                    raise DataError(
                        f"{path}: expected files without holes, got {member.name}: write the tar file without --sparse"
                    )
                if ending in EXTENSIONS:
                    sounds.setdefault(key, len(shard.members))
                    shard.members.append((member.name, member.offset_data, member.size))
                elif ending in (".txt", ".json") and not (ending == ".txt" and key in captions):
                    content = archive.extractfile(member)
                    found = read_text(content.read() if content else b"", ending, f"{path}, {member.name}", key)
                    times[key] = found.times or times.get(key)
                    if found.captions is not None:
                        captions[key] = found.captions
                elif ending.endswith(EXTENSIONS):
                    unread.append(member.name)
    except tarfile.TarError as error:
        raise DataError(
            f"expected tar files that are whole and not compressed, got {path} ({error}): fetch it again, or unpack "
            "it with `gunzip`"
        ) from error
    if unread:
        log.warning(
            "%s: %d sounds are not read, such as %s: the ending begins at the first dot, so names of clips have none",
            *(path, len(unread), unread[0]),
        )
    if missing := [key for key in sounds if key not in captions]:
        raise DataError(
            f"{path}: expected {missing[0]}.txt or {missing[0]}.json with a caption ({', '.join(CAPTION_KEYS)}) for "
            f"each sound, got none for {len(missing)} of {len(sounds)}"
        )
    return [
        EmbeddedClip(
            new_id(key, ids), path / shard.members[index][0], captions[key],
            container=shard, index=index, times=times[key],
        )
        for key, index in sounds.items()
    ]  # fmt: skip

"""The audio files below a folder, by their names."""

from __future__ import annotations

import difflib
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from consistency_tta.storage.captions import EXTENSIONS, endings
from consistency_tta.storage.folder_files import files_below

#: Files that are named as near.
NEAR = 3
#: Names that are compared letter by letter; of more it would take seconds for each.
COMPARED = 5000
#: Letters of a name that is looked for inside of others; shorter ones are in too many.
DISTINCT = 6


class AmbiguousName(LookupError):  # noqa: N818 - a finding, listed with the clip, before it is an error
    """Several files in different folders bear a name."""


class AudioFolder:
    """The audio files below a folder, listed once and found by name without their extension.

    Args:
        folder: with wav, flac, ogg and mp3 files at any depth.

    Raises:
        FileNotFoundError: if there is no such folder, or no audio in it.
        PermissionError: if the folder, or one in it, may not be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the audio folder {self.folder} does not exist or is not a folder")
        everything = list(files_below(self.folder, _refuse))
        files = [path for path in everything if path.suffix.lower() in EXTENSIONS]
        if not files:
            others = Counter(path.suffix for path in everything if path.suffix)
            there = f", but {others.most_common(1)[0][0]} files: convert them, such as by ffmpeg" if others else ""
            raise FileNotFoundError(f"no {', '.join(EXTENSIONS)} file below the audio folder {self.folder}{there}")
        self._num_files = len(files)
        self._everything = everything
        self._twins: defaultdict[Path, list[Path]] = defaultdict(list)
        self._paths: dict[str, Path] = {}  # by the path below the folder
        for path in sorted(files, key=lambda path: (EXTENSIONS.index(path.suffix.lower()), path)):
            first = self._paths.setdefault(path.relative_to(self.folder).with_suffix("").as_posix(), path)
            if first != path:
                self._twins[first].append(path)
        # File systems keep an accented letter as one character (NFC) or as two (NFD), whatever the caption file has.
        self._composed: defaultdict[str, list[str]] = defaultdict(list)
        for below in self._paths:
            self._composed[unicodedata.normalize("NFC", below)].append(below)
        self._bearers: defaultdict[str, list[str]] = defaultdict(list)  # by the last parts of that path, composed
        for below in sorted(self._paths):
            for name in endings(unicodedata.normalize("NFC", below)):
                self._bearers[name].append(below)

    def __len__(self) -> int:
        return self._num_files

    def find(self, *names: str) -> Path | None:
        """The file that bears one of the names, in the order of the names.

        Args:
            *names: without extension; a path below the folder, or the last parts of one (``x`` and ``b/x`` for
                ``a/b/x.wav``); ``/x`` is only ``x.wav`` in the folder itself.

        Raises:
            AmbiguousName: if files in several folders bear the name, and none is exactly it.
        """
        for name in names:
            exact = name.lstrip("/")
            if exact in self._paths:
                return self._paths[exact]
            composed = unicodedata.normalize("NFC", name)
            bearers = self._composed.get(composed.lstrip("/"), []) or self._bearers.get(composed, [])
            if len(bearers) > 1 and len({self._paths[below].resolve() for below in bearers}) > 1:
                files = [self._paths[below].relative_to(self.folder).as_posix() for below in bearers]
                more = f" and {len(files) - 3} more" if len(files) > 3 else ""
                raise AmbiguousName(
                    f"{name} could be {', '.join(files[:3])}{more}: name the folder in the caption file"
                )
            if bearers:
                return self._paths[bearers[0]]
        return None

    def twins(self, path: Path) -> list[Path]:
        """Files that differ from one that is found only in their extension, and are never found themselves."""
        return self._twins.get(path, [])

    def near(self, name: str) -> list[str]:
        """Files, sound or not, whose names are like one that was not found, below the folder, at most three.

        The same name in other letters, with another extension or with %20 for spaces; else names that begin with it,
        perhaps behind a "Y" or zeros; else names with it inside, as yt-dlp writes ``Title [id]``; else a name with
        another letter or two.
        """
        # An extension that is none of ours stays in the name: u1.m4a may have been converted to u1.wav.
        wanted = re.sub(
            r"\.(m4a|mp4|webm|opus|aac|wma|mkv|aiff?|oga|mka|mov)$", "", _folded(unquote(name.rpartition("/")[2]))
        )
        if not wanted:
            return []
        keys, files = self._index
        found: list[Path] = []
        for beginning in (wanted, f"y{wanted}"):
            place = bisect_left(keys, beginning)
            while place < len(keys) and keys[place].startswith(beginning) and len(found) < NEAR:
                found.append(files[place])
                place += 1
        found = found or self._padded(wanted)
        if not found and len(keys) <= COMPARED and len(wanted) >= DISTINCT:
            found = [path for key, path in zip(keys, files, strict=True) if wanted in key][:NEAR]
        if not found and len(keys) <= COMPARED:
            # Another number is another clip, not a slip.
            same_numbers = [key for key in keys if re.findall(r"\d+", key) == re.findall(r"\d+", wanted)]
            alike = difflib.get_close_matches(wanted, same_numbers, 1, cutoff=0.8)
            found = [path for key, path in zip(keys, files, strict=True) if key in alike][:NEAR]
        return self._below(found)

    def near_number(self, number: str) -> list[str]:
        """Files that are named by a number with zeros in front, below the folder."""
        return self._below(self._padded(number))

    def _padded(self, number: str) -> list[Path]:
        keys, files = self._index
        if not number.isdecimal():
            return []
        places = ((bisect_left(keys, padded), padded) for digits in range(2, 10) if (padded := number.zfill(digits)))
        found = [files[place] for place, padded in places if padded != number and keys[place : place + 1] == [padded]]
        return list(dict.fromkeys(found))

    def _below(self, files: list[Path]) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in files]

    @cached_property
    def _index(self) -> tuple[list[str], list[Path]]:
        """The names of all files without extension, in order, and the files."""
        both = sorted((_folded(path.stem), path) for path in self._everything)
        return [name for name, _ in both], [path for _, path in both]


def _refuse(error: OSError) -> None:
    """Say which folder may not be read: its clips would be called missing. Links in a circle just end."""
    if isinstance(error, PermissionError):
        raise PermissionError(
            f"expected audio folders that may be read, got {error.strerror} for {error.filename}: change its rights"
        ) from error


def _folded(name: str) -> str:
    """A name in small letters, however its accents are written, without quotes around it or marks without width."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", visible).casefold().strip(" '\"")

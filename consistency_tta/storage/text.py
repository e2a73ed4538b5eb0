"""Text files: split by their format's own rules, with errors that name the file and the line.

``str.splitlines`` is not used: it also splits at U+2028, U+2029, U+0085, vertical tab, form feed and U+001C to U+001E,
which may be inside a caption.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from consistency_tta.runtime.errors import DataError

#: How files begin that are no UTF-8 text, what they are, and what to do.
_OTHER_KINDS = {
    b"\xff\xfe\0\0": ("UTF-32", "save it as UTF-8"),
    b"\0\0\xfe\xff": ("UTF-32", "save it as UTF-8"),
    b"\xff\xfe": ("UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16", "save it as UTF-8"),
    b"\x1f\x8b": ("a gzip file", "unpack it with gunzip"),
    b"BZh": ("a bzip2 file", "unpack it with bunzip2"),
    b"\xfd7zXZ": ("an xz file", "unpack it with unxz"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "unpack it with unzstd"),
    b"PK\x03\x04": ("a zip file or a spreadsheet", "unpack it, or save the table as CSV in UTF-8"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet", "save the table as CSV in UTF-8"),
    b"PAR1": ("a parquet file", "read it with HuggingFaceDataModule, or save the table as CSV"),
    b"%PDF": ("a PDF file", "save the table as CSV in UTF-8"),
}
_LONGEST_ERROR = 120


def read_text(file: Path) -> str:
    """What is in a text file, with its line ends as they are, without byte-order marks.

    Raises:
        DataError: it is not UTF-8, or has a NUL, with the line.
    """
    content = file.read_bytes()
    for beginning, (kind, remedy) in _OTHER_KINDS.items():
        if content.startswith(beginning):
            raise DataError(f"{file}, line 1: expected UTF-8 text, got {kind}: {remedy}")
    try:
        # Programs that add a mark may add a second one, and files that were joined have marks at later lines.
        text = re.sub("(^|[\r\n])\ufeff+", r"\1", content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}, line {line}: expected UTF-8 text, got the byte {content[error.start]:#04x}: save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{file}, line {line}: expected UTF-8 text, got a NUL character: save it as UTF-8")
    return text


def split_lines(text: str) -> list[str]:
    """The lines of text, which end in a line feed, a carriage return, or both, and in nothing else."""
    return re.split(r"\r\n|\r|\n", text)


def filled_lines(text: str) -> list[str]:
    """The lines that are not blank, without space around them: captions or prompts, one a line."""
    return [line.strip() for line in split_lines(text) if line.strip()]


def parse_json(text: str, place: str) -> Any:
    """What is in JSON text.

    Args:
        text: to parse.
        place: where it is from, for the error: the file, perhaps with the line.

    Raises:
        DataError: it is not JSON, has a key twice in one object, or lists in lists so deep that it cannot be parsed.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > len(dict(pairs)):
            key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise DataError(f"{place}: expected each key of an object once, got {key!a:.60} more than once: remove one")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except DataError:
        raise
    except json.JSONDecodeError as error:
        where = f", line {error.lineno}" if error.lineno > 1 else ""
        raise DataError(f"{place}{where}: not valid JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise DataError(f"{place}: expected a few levels of JSON, got lists or objects nested too deep") from None
    except ValueError as error:  # a whole number of more than 4300 digits
        raise DataError(f"{place}: not valid JSON: {str(error)[:_LONGEST_ERROR]}") from None

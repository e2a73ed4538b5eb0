"""The rows of a caption table, CSV or JSON, as they are written: fields by column."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.text import parse_json, split_lines

log = logging.getLogger(__name__)

#: What may be between the columns of a CSV file.
SEPARATORS = ",\t;|"
#: Characters of one field at most: a caption of more is a quote that was not closed.
LONGEST_FIELD = 131_072


class Record(NamedTuple):
    """A row.

    Attributes:
        place: the file and the line, or the entry's number, for errors.
        line: that number.
        fields: by column, in small letters, with "_" for spaces and dashes.
    """

    place: str
    line: int
    fields: dict[str, Any]


def read_records(text: str, source: Path) -> list[Record]:
    """The rows of a table, of JSON by its first character, otherwise of CSV.

    Raises:
        DataError: it cannot be read, with the line.
    """
    return (_json_records if text.lstrip()[:1] in ("{", "[") else _csv_records)(text, source)


def _csv_records(text: str, source: Path) -> list[Record]:
    # The csv module ends a row where CSV does, if it is given a stream whose line ends are not touched.
    lines = list(io.StringIO(text, newline=""))
    # Excel's own line of the separator. It stays, empty, so that the other lines keep their numbers.
    if stated := re.fullmatch(r'"?sep=(.)"?\s*', lines[0] if lines else ""):
        lines[0] = "\n"
    header = next((line for line in lines if line.strip()), "")
    separator = stated[1] if stated else max(SEPARATORS, key=header.count)
    # Fields that touch a quote on one side only are an error: without "strict" a quote that is not closed takes all
    # following rows into its caption.
    reader = csv.reader(iter(lines), delimiter=separator, strict=True, skipinitialspace=True)
    records: list[Record] = []
    columns: list[str] = []
    unquoted: list[int] = []
    begun = 1
    try:
        for row in reader:
            line, begun = begun, reader.line_num + 1
            if not any(field.strip() for field in row):
                continue
            if not columns:
                columns = [column_name(name) for name in row]
                if twice := [name for name, count in Counter(columns).items() if count > 1 and name]:
                    raise DataError(f"{source}, line {line}: expected columns of different names, got two {twice[0]!r}")
                continue
            if whole := _with_whole_caption(row, columns, lines[line - 1], separator):
                row = whole
                unquoted.append(line)
            if len(row) != len(columns):
                remedy = f"quote captions that contain {separator!r}" if len(row) > len(columns) else "complete the row"
                raise DataError(f"{source}, line {line}: expected {len(columns)} fields, got {len(row)}: {remedy}")
            # The first may be pandas' index; behind it there is the rest of a caption with separators.
            surplus = [field for name, field in zip(columns[1:], row[1:], strict=True) if not name and field.strip()]
            if surplus:
                raise DataError(
                    f"{source}, line {line}: expected nothing in columns without a name, got {surplus[0].strip()!r:.60}"
                    f": quote captions that contain {separator!r}, or name the column"
                )
            records.append(Record(f"{source}, line {line}", line, dict(zip(columns, row, strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{source}, line {begun}: expected a row of CSV, got something else ({error}): put a caption with quotes "
            f'inside in quotes, with each inner quote twice (""), in at most {LONGEST_FIELD:,} characters'
        ) from None
    if unquoted:
        log.warning(
            "%s, line %d%s: more fields than the header's %d, read as a caption with %r in it: quote such captions",
            source, unquoted[0], f" and {len(unquoted) - 1} more" if len(unquoted) > 1 else "", len(columns), separator,
        )  # fmt: skip
    return records or ([Record(f"{source}, line 1", 0, dict.fromkeys(columns, ""))] if columns else [])


def _with_whole_caption(row: list[str], columns: list[str], line: str, separator: str) -> list[str] | None:
    """A row whose last field is a caption with separators in it, without quotes; None if it is none."""
    surplus = "".join(row[len(columns) :]).strip()
    if not surplus or columns[-1] not in ("caption", "captions") or '"' in line:
        return None
    return line.strip("\r\n").split(separator, len(columns) - 1)


def column_name(name: str) -> str:
    """A column's name as the tables of columns have it: ``file_name`` for ``File Name``."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _json_records(text: str, source: Path) -> list[Record]:
    """A list, an object with a list named "data" (WavCaps, AudioLDM), or an object a line."""
    entries = _json_lines(text, source)
    records = []
    for line, entry in entries:
        place = f"{source}, entry {line}"
        if not isinstance(entry, dict):
            raise DataError(f"{place}: expected an object with a clip's name and its caption, got {entry!s:.70}")
        fields = {column_name(str(key)): value for key, value in entry.items()}
        if len(fields) < len(entry):
            raise DataError(f"{place}: expected keys of different names, got {', '.join(map(repr, entry))!s:.100}")
        texts = [text for value in fields.values() for text in (value if isinstance(value, list) else [value])]
        if any(isinstance(text, str) and len(text) > LONGEST_FIELD for text in texts):
            raise DataError(f"{place}: expected fields of at most {LONGEST_FIELD:,} characters, got a longer one")
        records.append(Record(place, line, fields))
    return records


def _json_lines(text: str, source: Path) -> list[tuple[int, Any]]:
    lines = [(number, line) for number, line in enumerate(split_lines(text), start=1) if line.strip()]
    # Of JSON lines the first is whole; of one object over several lines it is not.
    if text.lstrip().startswith("[") or _is_one_object(text, lines[0][1]):
        whole = parse_json(text, str(source))
        if isinstance(whole, dict):
            whole = whole.get("data", [whole])
        if not isinstance(whole, list):
            raise DataError(f'{source}: expected a list of entries in "data", got {whole!s:.70}')
        return list(enumerate(whole, start=1))
    return [(number, parse_json(line, f"{source}, line {number}")) for number, line in lines]


def _is_one_object(text: str, first: str) -> bool:
    """Whether the text is one JSON object, over several lines or with the list of entries in it."""
    try:
        entry = parse_json(first, "")
        return isinstance(entry, dict) and isinstance(entry.get("data"), list)
    except DataError:
        # The first line opens what it does not close: an object over lines, or a line that is broken. Only the former
        # has nothing but a key, or nothing at all, behind its bracket.
        return not first.rstrip().endswith(("}", '"')) and first.count("{") > first.count("}") and "\n" in text

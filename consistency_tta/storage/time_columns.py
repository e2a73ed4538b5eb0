"""Which columns of a caption table are times, and in which unit: ``start_time``, ``startSec``, ``end (ms)``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from consistency_tta.runtime.errors import DataError

_UNIT = r"((_in)?_?(seconds?|secs?|(?P<milli>milliseconds?|millis|msecs?|ms))|_s)?"
#: Names of the place in the file, or the video, where a clip begins and ends, and of its length.
_FORMS: dict[str, re.Pattern[str]] = {
    kind: re.compile(rf"((segment|seg|clip|part|chunk|event|crop)_?)?({words})(_?time)?{_UNIT}")
    for kind, words in {
        "start": "start|begin|beginning|onset|from|seek|offset",
        "end": "end|ending|stop|until|to",
        "length": "duration|length|dur",
    }.items()
}
#: Names that may mean such a place in a unit that is not known, such as samples.
_LIKE: dict[str, re.Pattern[str]] = {
    "start": re.compile(
        r"(.*_)?(start|begin|beginning|onset|from)(_.*)?|t_?min|(start|begin)[a-z]*(time|frame|sample)s?"
    ),
    "end": re.compile(r"(.*_)?(end|ending|stop|until|offset|to)(_.*)?|t_?max|(end|stop)[a-z]*(time|frame|sample)s?"),
}


@lru_cache
def time_columns(columns: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """The columns of start, end and length among those of a row or a table, and how many of their unit are a second.

    Args:
        columns: in small letters, with "_" for spaces and dashes.
    """
    found: dict[str, dict[str, int]] = {"start": {}, "end": {}, "length": {}}
    spelled = {column: re.sub(r"[\W_]+", "_", column).strip("_") for column in columns}
    is_onset = any("onset" in name for name in spelled.values())
    for column, name in spelled.items():
        for kind, form in _FORMS.items():
            if match := form.fullmatch(name):
                # "offset" is an end behind an onset, otherwise a start.
                place = "end" if is_onset and "offset" in name else kind
                found[place][column] = 1000 if match["milli"] else 1
    return found


def check_both_ends(columns: Iterable[str], source: object) -> None:
    """Refuse a table of which one end of the parts would be read, and the other would not.

    Args:
        columns: of the table.
        source: its file.

    Raises:
        DataError: with the column that is read and that which is not.
    """
    found = time_columns(tuple(columns))
    read = {column for several in found.values() for column in several}
    for here, there in (("start", "end"), ("end", "start")):
        others = [column for column in columns if column not in read and _LIKE[there].fullmatch(column)]
        by_length = here == "start" and found["length"]
        if found[here] and others and not found[there] and not by_length:
            raise DataError(
                f"{source}: expected both ends of parts in seconds, got {', '.join(found[here])}, which is read, and "
                f"{others[0]}, which is not: name them start_time and end_time, or remove those that are no times"
            )

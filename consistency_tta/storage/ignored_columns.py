"""Columns of a caption table that are not read, and that may change what its rows mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from consistency_tta.storage.caption_records import Record

log = logging.getLogger(__name__)

#: They may mean that a caption is of a part of its file.
PART_COLUMN = re.compile(
    r"(.*[_ -])?(start|begin|onset|end|stop|offset|from|time|timestamp|timecode|segment|channel|part|chunk|window|"
    r"region|interval|crop|trim|cut|excerpt)s?([_ -].*)?|t_?(0|1|min|max|start|end)|(num_)?(frames|samples)|"
    r"(start|end|begin|stop)[a-z]*(time|frame|sample|ms)s?"
)
#: They may mean that not all rows are to be used, or not alike.
CHOICE_COLUMN = re.compile(
    r"(data)?(split|subset|set|partition|fold|usage|weight|valid|keep|exclude|deleted|ignore)s?|is_\w+"
)
#: Values that a warning names.
NAMED = 3


def warn_of_ignored(records: list[Record], known: Iterable[str], captions: Path) -> None:
    """Log the columns that are not read and may change what rows mean.

    Args:
        records: of the table.
        known: columns that are read.
        captions: the file.
    """
    everything = dict.fromkeys(name for record in records for name in record.fields)
    columns = [name for name in everything if name not in set(known)]
    if parts := [name for name in columns if PART_COLUMN.fullmatch(name)]:
        log.warning(
            "%s: the columns %s are not read; if they mean that captions are of parts of files, give their times in "
            "seconds as start_time and end_time", captions, ", ".join(parts),
        )  # fmt: skip
    for name in filter(CHOICE_COLUMN.fullmatch, columns):
        values = list(dict.fromkeys(str(record.fields.get(name, "")).strip() for record in records))
        if len(values) > 1:
            log.warning(
                "%s: the column %s (%s) is not read, and all rows are used alike: if only some are meant, write them "
                "to a file of their own", captions, name, ", ".join(values[:NAMED]) + ", ..." * (len(values) > NAMED),
            )  # fmt: skip

"""Columns of a caption table that are not read, and that may change what its rows mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from consistency_tta.storage.caption_records import Record

log = logging.getLogger(__name__)

#: Columns of known tables that say more of a clip or its source, and never which part of a file is meant.
HARMLESS_COLUMN = re.compile(
    r"|unnamed:?_\d+|(.*_)?(labels?|tags?|categor(y|ies)|class(es)?|keywords?|mids?|titles?|description|authors?|artist|"
    r"uploader|manufacturer|licen[cs]e|ur[li]|link|href|source|dataset|language|lang|comments?|notes?|tokens|raw|score|"
    r"rating|target|aspect_list|sampling_rate|sample_rate|samplerate|bitrate|bit_depth|num_channels|channels|amplitude|"
    r"codec|format|md5|sha256|bytes|esc10|take|src_file|info_path|model|seed)|(author|sound|freesound|uploader|dataset)_id"
)
#: They may mean that not all rows are to be used, or not alike.
CHOICE_COLUMN = re.compile(
    r"(data)?(split|subset|set|partition|fold|usage|weight|valid|keep|exclude|deleted|ignore)s?|is_\w+"
)
#: Values that a warning names.
NAMED = 3


def warn_of_ignored(records: list[Record], known: Iterable[str], captions: Path) -> None:
    """Log the columns that are not read and may change what rows mean: all whose names are not known to be harmless.

    Args:
        records: of the table.
        known: columns that are read.
        captions: the file.
    """
    everything = dict.fromkeys(name for record in records for name in record.fields)
    columns = [name for name in everything if name not in set(known)]
    unclear = [name for name in columns if not (HARMLESS_COLUMN.fullmatch(name) or CHOICE_COLUMN.fullmatch(name))]
    if unclear:
        log.warning(
            "%s: the columns %s are not read; if they mean that captions are of parts of files, give their times in "
            "seconds as start_time and end_time", captions, ", ".join(unclear),
        )  # fmt: skip
    for name in filter(CHOICE_COLUMN.fullmatch, columns):
        values = list(dict.fromkeys(str(record.fields.get(name, "")).strip() for record in records))
        if len(values) > 1:
            log.warning(
                "%s: the column %s (%s) is not read, and all rows are used alike: if only some are meant, write them "
                "to a file of their own", captions, name, ", ".join(values[:NAMED]) + ", ..." * (len(values) > NAMED),
            )  # fmt: skip

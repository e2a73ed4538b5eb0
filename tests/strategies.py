"""Hypothesis strategies: caption tables, settings, folders.

``HYPOTHESIS_PROFILE=long`` tries two hundred times as many examples; ``make fuzz`` sets it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

settings.register_profile(
    "quick", max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
settings.register_profile("long", settings.get_profile("quick"), max_examples=8000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

#: Characters that end lines for some programs, mean something in a table, or have two spellings.
ODD = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\t\r\n\"',;|\\{}[]:#&*!%@`é\u0301\ufeff\u200b𝄞"
CHARACTERS = st.one_of(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from(ODD))
#: What a file may be called, without extension.
NAMES = st.text(st.sampled_from("abcXY019_-. éö") | st.sampled_from("µß犬"), min_size=1, max_size=12).map(
    lambda name: "n" + name.strip(" .")
)


@st.composite
def captions(draw: st.DrawFn) -> str:
    """Captions that are none of the texts that stand for no caption, without space around them."""
    text = draw(st.text(CHARACTERS, max_size=40)).strip()
    return f"A {text}".strip()


def _csv(draw: st.DrawFn, rows: list[tuple[str, str]]) -> str:
    stream = io.StringIO()
    separator = draw(st.sampled_from(",\t;|"))
    # Before Python 3.13 the writer does not quote a carriage return that is not its line end.
    returns = any("\r" in caption for _, caption in rows)
    quoting = draw(st.sampled_from([csv.QUOTE_ALL] if returns else [csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(
        stream, delimiter=separator, quoting=quoting, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerow(["file", "caption"])
    writer.writerows(rows)
    return draw(st.sampled_from(["", "\ufeff"])) + stream.getvalue()


def _json(draw: st.DrawFn, rows: list[tuple[str, str]]) -> str:
    entries = [{"file": name, "caption": caption} for name, caption in rows]
    escaped = draw(st.booleans())
    form = draw(st.sampled_from(["lines", "list", "data"]))
    if form == "lines":
        return "".join(json.dumps(entry, ensure_ascii=escaped) + "\n" for entry in entries)
    indent = draw(st.sampled_from([None, 2]))
    return json.dumps(entries if form == "list" else {"data": entries}, ensure_ascii=escaped, indent=indent)


@st.composite
def manifests(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """The text of a caption table in any form, and its rows."""
    rows = draw(st.lists(st.tuples(NAMES, captions()), min_size=1, max_size=5))
    return draw(st.sampled_from([_csv, _json]))(draw, rows), rows


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(CHARACTERS, max_size=12))
KEYS = st.one_of(
    st.sampled_from(["class_path", "init_args", "losses", "objective", "student", "unet", "num_steps", "adversary"]),
    st.text(CHARACTERS, max_size=5),
)


def configurations(leaves: st.SearchStrategy[Any] = SCALARS) -> st.SearchStrategy[Any]:
    """Nested settings, as YAML has them."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=10
    )


@st.composite
def folders(draw: st.DrawFn) -> list[str]:
    """Paths of sound files below a folder, without extension, which differ however they are spelled."""
    parts = st.lists(NAMES, min_size=1, max_size=3)
    paths = draw(st.lists(parts.map("/".join), min_size=1, max_size=6, unique_by=lambda path: path.casefold()))
    # A file cannot be where a folder is.
    return [path for path in paths if not any(other.startswith(path + "/") for other in paths)]

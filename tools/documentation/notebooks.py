"""Notebooks as pages of the site: text and code, and the outputs of ``make notebooks`` where it has run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.documentation.pages import ROOT, Page

FOLDER = ROOT / "notebooks"
#: Executed copies.
EXECUTED = ROOT / "build" / "notebooks"
#: Codes of a terminal, such as those of colours.
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def notebook_pages(folder: Path = FOLDER, executed: Path = EXECUTED) -> dict[str, Page]:
    """The pages by their place on the site."""
    pages = {}
    for file in sorted(folder.glob("*.ipynb")):
        cells = read_cells(file)
        copy = executed / file.name
        if copy.is_file() and sources(read_cells(copy)) == sources(cells):
            cells = read_cells(copy)
        pages[f"notebooks/{file.stem}.md"] = Page("\n\n".join(map(cell_markdown, cells)) + "\n", "notebooks")
    return pages


def read_cells(file: Path) -> list[dict[str, Any]]:
    """The cells of a notebook."""
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def sources(cells: list[dict[str, Any]]) -> list[str]:
    """The text of each cell."""
    return ["".join(cell["source"]) for cell in cells]


def cell_markdown(cell: dict[str, Any]) -> str:
    """A cell and its outputs."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *output_markdown(cell.get("outputs", []))])


def output_markdown(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """What a cell wrote and returned: pictures, players and tables, or else text; no warnings and progress bars."""
    for output in outputs:
        data = output.get("data", {})
        if output.get("name") == "stderr":
            continue
        if "image/png" in data:
            yield f'<img alt="Output" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
        elif "text/html" in data:
            html = re.sub(r"\n\s*\n", "\n", "".join(data["text/html"]).strip())  # an empty line would end it
            yield f'<div class="output">{html}</div>'
        elif text := CONTROL.sub("", "".join(output.get("text") or data.get("text/plain", ""))).rstrip():
            yield f"```{{.text .output}}\n{text}\n```"

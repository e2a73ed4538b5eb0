"""Notebooks as pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tools.documentation.notebooks import FOLDER, notebook_pages, read_cells
from tools.documentation.run_notebooks import run_notebook

TEXT = {"cell_type": "markdown", "source": ["# Title\n", "text"]}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": [source], "outputs": list(outputs)}


def write(folder: Path, *cells: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "a.ipynb").write_text(json.dumps({"cells": cells}))


def page(tmp_path: Path) -> str:
    return notebook_pages(tmp_path / "notebooks", tmp_path / "executed")["notebooks/a.md"].text


def test_text_and_code_become_markdown(tmp_path: Path) -> None:
    write(tmp_path / "notebooks", TEXT, code("x = 1"))
    assert page(tmp_path) == "# Title\ntext\n\n```python\nx = 1\n```\n"


def test_outputs_are_those_of_the_executed_copy(tmp_path: Path) -> None:
    write(tmp_path / "notebooks", code("x"))
    outputs = (
        {"output_type": "stream", "name": "stderr", "text": ["warning\n"]},
        {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n"]},
        {"output_type": "display_data", "data": {"image/png": "AAAA\n", "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/html": "<audio>\n\n</audio>", "text/plain": "Audio"}},
    )
    write(tmp_path / "executed", code("x", *outputs))
    text = page(tmp_path)
    assert "```{.text .output}\nred\n```" in text
    assert 'src="data:image/png;base64,AAAA"' in text
    assert '<div class="output"><audio>\n</audio></div>' in text
    assert "Figure" not in text
    assert "warning" not in text


def test_outputs_of_other_code_are_not_shown(tmp_path: Path) -> None:
    write(tmp_path / "notebooks", code("new"))
    write(tmp_path / "executed", code("old", {"output_type": "stream", "text": "stale"}))
    assert "stale" not in page(tmp_path)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.ipynb")), ids=lambda file: file.stem)
def test_notebooks_are_committed_without_outputs(file: Path) -> None:
    cells = read_cells(file)
    assert cells[0]["cell_type"] == "markdown"
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_a_cell_with_an_error_stops_the_run_and_is_in_the_copy(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in ("6 * 7", "1 / 0")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    with pytest.raises(CellExecutionError):
        run_notebook(tmp_path / "a.ipynb", tmp_path / "executed")
    first, second = read_cells(tmp_path / "executed" / "a.ipynb")
    assert "".join(first["outputs"][0]["data"]["text/plain"]) == "42"
    assert second["outputs"][0]["ename"] == "ZeroDivisionError"

"""The pages of the documentation site: each is in the navigation, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tools.documentation.notebooks import notebook_pages
from tools.documentation.pages import ROOT, generated_pages, heading_id, readme_pages, site_page

README = (ROOT / "README.md").read_text(encoding="utf-8")


def navigation(entry: object) -> list[str]:
    """The pages of mkdocs.yml's `nav`, in order."""
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for part in inner for page in navigation(part)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_once() -> None:
    text = re.sub(r"!\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))  # tags of mkdocs' own
    listed = navigation(yaml.safe_load(text)["nav"])
    written = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    pages = written | set(generated_pages()) | set(notebook_pages()) | {"gallery.md"}
    assert sorted(listed) == sorted(pages)


def test_sections_of_the_readme_are_pages() -> None:
    page = readme_pages(README)["guide/train.md"]
    assert page.text.startswith("# Train\n")
    assert "lightning_configs/" in page.text
    assert "\n## " not in page.text


def test_a_section_that_was_renamed_is_an_error() -> None:
    with pytest.raises(ValueError, match="Add a loss"):
        readme_pages(README.replace("## Add a loss", "## Losses"))


@pytest.mark.parametrize(
    ("file", "fragment", "page"),
    [
        ("README.md", "#add-a-loss", "guide/add_a_loss.md"),
        ("README.md", "", "index.md"),
        ("docs/tiny.md", "#data", "tiny.md#data"),
        ("SECURITY.md", "", "security.md"),
        ("notebooks/evaluate.ipynb", "", "notebooks/evaluate.md"),
        ("tools/onnx_sound.py", "", None),
    ],
)
def test_files_of_the_repository_have_pages(file: str, fragment: str, page: str | None) -> None:
    assert site_page(file, fragment) == page


def test_heading_ids_are_those_of_github() -> None:
    assert heading_id("`fit`, and what's next?") == "fit-and-whats-next"


@pytest.mark.parametrize(
    "file", sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]), ids=lambda file: file.stem
)
def test_lists_begin_after_an_empty_line(file: Path) -> None:
    """Where one does not, GitHub shows a list and the site a paragraph."""
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?![-*#\s|>]|\d+\.).+\n(?:[-*]|\d+\.) .*", text, re.MULTILINE) == []

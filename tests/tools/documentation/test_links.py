"""Links between the repository's files, for other places."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.documentation.links import absolute_links, main, repository_link, rewrite_links

REPOSITORY = "https://example.org/owner/name"


def marked(markdown: str, folder: str = "") -> str:
    return rewrite_links(markdown, folder, lambda file, fragment: f"<{file}{fragment}>")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("see [data](docs/data.md).", "see [data](<docs/data.md>)."),
        ("[a](docs/data.md#names) [b](LICENSE)", "[a](<docs/data.md#names>) [b](<LICENSE>)"),
        ("![picture](docs/pictures/a.png)", "![picture](<docs/pictures/a.png>)"),
        ("[`a[0]` and\nmore](x.md)", "[`a[0]` and\nmore](<x.md>)"),
        ("[web](https://example.org) [mail](mailto:a@b.c) [here](#there)", None),
        ("code `[a](b.md)` stays", None),
        ("```python\nx[0](y)\n[a](b.md)\n```\n", None),
    ],
)
def test_only_relative_links_change(given: str, expected: str | None) -> None:
    assert marked(given) == (given if expected is None else expected)


def test_a_link_is_resolved_against_its_files_folder() -> None:
    assert marked("[a](../SECURITY.md) [b](pictures/c.png)", "docs") == "[a](<SECURITY.md>) [b](<docs/pictures/c.png>)"


def test_where_there_is_no_page_the_text_stays() -> None:
    assert rewrite_links("see [the code](tools/a.py)", "", lambda file, fragment: None) == "see the code"


def test_pictures_are_linked_as_files_and_pages_as_pages() -> None:
    assert repository_link(REPOSITORY, "docs/a.png") == f"{REPOSITORY}/raw/main/docs/a.png"
    assert repository_link(f"{REPOSITORY}/", "docs/a.md", "#b", "v1") == f"{REPOSITORY}/blob/v1/docs/a.md#b"


def test_the_description_on_pypi_has_no_relative_links(tmp_path: Path) -> None:
    readme = Path(__file__).parents[3] / "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(readme.read_text(encoding="utf-8"), encoding="utf-8")
    main([str(copy), REPOSITORY, "v9"])
    text = copy.read_text(encoding="utf-8")
    assert f"({REPOSITORY}/blob/v9/docs/data.md" in text
    assert f"({REPOSITORY}/raw/v9/docs/pictures/" in text
    left: list[str] = []
    rewrite_links(text, "", lambda file, fragment: left.append(file))
    assert left == []
    assert absolute_links(text, "elsewhere") == text

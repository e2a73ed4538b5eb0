"""What mkdocs calls while it builds the site; see mkdocs.yml."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page as SitePage

from tools.documentation.gallery_page import front_page, gallery_files, gallery_page
from tools.documentation.links import repository_link, rewrite_links
from tools.documentation.notebooks import notebook_pages
from tools.documentation.pages import Page, generated_pages, site_page

PAGES: dict[str, Page] = {}
#: The text of a link that is a file's name, as in the README.
FILE_NAME = re.compile(r"\[(?:docs/)?[\w/]+\.md\]\((?P<page>[\w./]+\.md)(?P<fragment>[^)]*)\)")


def on_files(files: Files, config: MkDocsConfig, **kwargs: Any) -> Files:
    """Add the pages and sounds that are not in ``docs/``."""
    PAGES.clear()
    PAGES.update(generated_pages() | notebook_pages() | {"gallery.md": gallery_page()})
    for place, page in PAGES.items():
        files.append(File.generated(config, place, content=page.text))
    for place, file in gallery_files().items():
        files.append(File.generated(config, place, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: SitePage, config: MkDocsConfig, **kwargs: Any) -> str:
    """Let links to files of the repository lead to their pages, or else to the repository's web page."""
    place = page.file.src_uri
    folder = PAGES[place].folder if place in PAGES else posixpath.join("docs", posixpath.dirname(place))
    if place == "index.md":
        markdown = front_page(markdown)

    def resolve(file: str, fragment: str) -> str | None:
        if target := site_page(file, fragment):
            return posixpath.relpath(target, posixpath.dirname(place) or ".")
        return repository_link(config.repo_url, file, fragment) if config.repo_url else None

    titles = dict(page_titles(config.nav))

    def titled(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), found["page"]))
        return f"[{titles[target]}]({found['page']}{found['fragment']})" if target in titles else found[0]

    return FILE_NAME.sub(titled, rewrite_links(markdown, folder, resolve))


def page_titles(navigation: Any) -> Iterator[tuple[str, str]]:
    """Pages and their titles in the navigation of mkdocs.yml."""
    for entry in navigation:
        for title, content in entry.items():
            if isinstance(content, str):
                yield content, title
            else:
                yield from page_titles(content)

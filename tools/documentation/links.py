"""Links between the repository's files, made to work elsewhere: on the site, and in the description on PyPI.

python -m tools.documentation.links README.md https://github.com/OWNER/NAME

writes that file again with absolute links, for ``python -m build``; the release workflow does it.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path

#: A fenced block or code in a line, in which nothing is a link; or a link or a picture.
MARKDOWN = re.compile(
    r"^(?P<fence>```+|~~~+).*?^(?P=fence)|`[^`\n]+`|(?P<mark>!?)\[(?P<text>(?:`[^`]*`|[^\[\]`])*)\]\((?P<address>[^()\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
#: Of the address that replaces a file and a fragment, or None to leave the text without a link.
Resolve = Callable[[str, str], str | None]


def rewrite_links(markdown: str, folder: str, resolve: Resolve) -> str:
    """Replace the addresses of relative links and pictures; those with a scheme, and fragments alone, stay.

    Args:
        markdown: the text.
        folder: of the text's file, relative to the repository's root; empty for the root.
        resolve: takes a file relative to the root, and the fragment with its ``#`` or nothing.
    """

    def replace(found: re.Match[str]) -> str:
        address = found["address"]
        if not address or re.match(r"[a-z][a-z0-9+.-]*:|#|/", address):
            return found[0]
        file, _, fragment = address.partition("#")
        new = resolve(posixpath.normpath(posixpath.join(folder, file)), fragment and f"#{fragment}")
        return found["text"] if new is None else f"{found['mark']}[{found['text']}]({new})"

    return MARKDOWN.sub(replace, markdown)


def repository_link(repository: str, file: str, fragment: str = "", revision: str = "main") -> str:
    """The address of a file on a repository's web page; of a picture, its content.

    Args:
        repository: such as ``https://github.com/OWNER/NAME``.
        file: relative to the root.
        fragment: with its ``#``, or nothing.
        revision: a branch, tag or commit.
    """
    kind = "raw" if Path(file).suffix in (".png", ".svg", ".jpg") else "blob"
    return f"{repository.rstrip('/')}/{kind}/{revision}/{file}{fragment}"


def absolute_links(markdown: str, repository: str, revision: str = "main") -> str:
    """A text of the repository's root with absolute links."""
    return rewrite_links(markdown, "", lambda file, fragment: repository_link(repository, file, fragment, revision))


def main(arguments: list[str]) -> None:
    """Write a file again with absolute links."""
    if len(arguments) not in (2, 3):
        raise SystemExit("usage: python -m tools.documentation.links FILE REPOSITORY [REVISION]")
    file = Path(arguments[0])
    file.write_text(absolute_links(file.read_text(encoding="utf-8"), *arguments[1:]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

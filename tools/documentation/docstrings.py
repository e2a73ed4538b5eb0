"""Docstrings as Markdown: references such as ``:class:`Loss``` become links, and lists of files stay lines."""

from __future__ import annotations

import re
from typing import Any

from griffe import AliasResolutionError, Extension, Module, NameResolutionError, Object

ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc|obj):`(?P<short>[~!]?)(?P<target>[\w.]+)`")
#: A line of a list of files, such as ``ema.py    averages of weights``.
FILE = re.compile(r"^(?=[\w/]+\.py  )", re.MULTILINE)


class MarkdownDocstrings(Extension):
    """Rewrites all docstrings of a package; mkdocs.yml names it."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Called when a package has been read."""
        _rewrite(pkg)


def _rewrite(item: Object) -> None:
    """The docstrings of an object and of its members."""
    if item.docstring:
        text = FILE.sub("    ", item.docstring.value)  # a block of code
        item.docstring.value = ROLE.sub(lambda found: link(found, item), text)
    for member in item.members.values():
        if isinstance(member, Object):
            _rewrite(member)


def link(found: re.Match[str], item: Object) -> str:
    """The link of a role; plain code where the API reference does not have its target."""
    target = found["target"]
    name = target.rpartition(".")[2] if found["short"] == "~" else target
    if not target.startswith("consistency_tta."):
        head, _, rest = target.partition(".")
        try:
            target = item.resolve(head) + (rest and f".{rest}")
        except (NameResolutionError, AliasResolutionError):
            return f"`{name}`"
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'

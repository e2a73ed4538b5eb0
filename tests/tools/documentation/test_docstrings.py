"""Docstrings as Markdown, for the API reference."""

from __future__ import annotations

import griffe

from tools.documentation.docstrings import MarkdownDocstrings

SOURCE = '''
"""A room.

ema.py     averages
loss.py    :class:`Loss`

See :func:`~consistency_tta.room.loss.value`, :meth:`Loss.forward` and :class:`~torch.Tensor`.
"""

class Loss:
    """Returns :class:`int`."""
'''


def test_roles_are_links_and_lists_of_files_are_code() -> None:
    with griffe.temporary_visited_module(SOURCE, module_name="room") as room:
        MarkdownDocstrings().on_package(pkg=room)
        assert room.docstring is not None
        text = room.docstring.value
        inner = room["Loss"].docstring.value
    assert "\n    ema.py     averages\n    loss.py" in text
    link = '<autoref identifier="{}" optional><code>{}</code></autoref>'
    assert link.format("room.Loss", "Loss") in text
    assert link.format("consistency_tta.room.loss.value", "value") in text
    assert link.format("room.Loss.forward", "Loss.forward") in text
    assert "`Tensor`" in text
    assert inner == "Returns `int`."

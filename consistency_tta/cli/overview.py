"""What ``consistency-tta --help`` prints: one table of all subcommands."""

from __future__ import annotations

import textwrap

from consistency_tta.cli.commands import COMMANDS, LIGHTNING
from consistency_tta.cli.signature import summary

NEXT = """\
First sound:     consistency-tta generate "a dog barks" --model tiny-student
First training:  consistency-tta fit --config tiny/demo
Options:         consistency-tta SUBCOMMAND --help
"""


def table(width: int = 100) -> str:
    """All subcommands with a description each, in lines of at most ``width`` characters."""
    rows = LIGHTNING | {name: summary(command) for name, command in COMMANDS.items() if name != "listening-test make"}
    left = max(map(len, rows)) + 4
    return "\n".join(
        textwrap.fill(row, width, initial_indent=f"  {name}".ljust(left), subsequent_indent=" " * left)
        for name, row in rows.items()
    )


def overview() -> str:
    """The whole text of ``--help``."""
    return (
        "usage: consistency-tta [-h] [--version] SUBCOMMAND ...\n\n"
        "Text to audio in one network query.\n\n"
        f"Subcommands:\n{table()}\n\n{NEXT}"
    )

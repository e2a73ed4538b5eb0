"""The command ``consistency-tta``: Lightning's fit, validate, test and predict, and this project's own subcommands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

#: Subcommands beside Lightning's: name -> (module and function, what it does). Imported when called: Lightning is slow to import.
COMMANDS = {
    "generate": ("consistency_tta.generate:generate", "captions to wav files, by a teacher or a student"),
    "export": ("consistency_tta.export:export", "a training checkpoint to a model folder"),
    "data-check": ("consistency_tta.datamodules.check:data_check", "list missing, unreadable, silent and short clips"),
}


def main(args: list[str] | None = None) -> Any:
    """Run a command line.

    Args:
        args: arguments without the program's name; those of this process if None.
    """
    args = sys.argv[1:] if args is None else args
    if args and args[0] in COMMANDS:
        from jsonargparse import auto_cli

        return auto_cli(command(args[0]), args=args[1:], prog=f"consistency-tta {args[0]}")
    return train(args)


def command(name: str) -> Callable[..., Any]:
    """The function of one of this project's own subcommands."""
    module, function = COMMANDS[name][0].split(":")
    return getattr(import_module(module), function)

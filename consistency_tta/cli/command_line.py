"""From the first word of a command line to its subcommand."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from consistency_tta import __version__
from consistency_tta.cli.commands import COMMANDS, LIGHTNING
from consistency_tta.cli.config_files import find_recipes
from consistency_tta.cli.mistakes import check_lightning, check_subcommand, refuse
from consistency_tta.cli.overview import overview
from consistency_tta.runtime.trust import take_trust


def main(args: list[str] | None = None) -> Any:
    """Run a command line.

    Args:
        args: arguments without the program's name; those of this process if None.

    Returns:
        What the command returns: the :class:`lightning.pytorch.cli.LightningCLI` of Lightning's subcommands.
    """
    args = take_trust(sys.argv[1:] if args is None else args)
    if not args:
        sys.stderr.write(overview())
        raise SystemExit(2)
    if args[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        raise SystemExit(0)
    if args[0] == "--version":
        print(f"consistency-tta {__version__}")
        raise SystemExit(0)
    check_subcommand(args)
    for word in args:
        if re.search("[\ud800-\udfff]", word):  # how Python keeps bytes that are no text
            refuse(f"expected words in UTF-8, got {os.fsencode(word)!r}: rename what is called so")
    for words in (2, 1):  # "listening-test serve" before "listening-test"
        if (name := " ".join(args[:words])) in COMMANDS:
            from consistency_tta.cli.own_commands import run

            return run(name, args[words:])
    if args[0] in LIGHTNING:
        from consistency_tta.cli.training_options import check_nested, lightning_help, wants_help

        check_lightning(args)
        args = find_recipes(args)
        if wants_help(args):
            sys.stdout.write(lightning_help(args))
            raise SystemExit(0)
        check_nested(args)
    from consistency_tta.cli.training_cli import run_lightning

    return run_lightning(args)

"""Wrong words on a command line, refused with the right ones before anything heavy is imported."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from itertools import takewhile
from typing import NoReturn

from consistency_tta.cli.commands import COMMANDS, LIGHTNING_OPTIONS, OTHER_NAMES, SHARED_OPTIONS, first_words
from consistency_tta.runtime.suggest import nearest

#: Options before the subcommand; the last two are Lightning's and jsonargparse's.
BEFORE_SUBCOMMAND = {"help", "version", "print_config", "print_shtab"}
RECIPE = """\
error: {0} needs a recipe, a YAML file that has the model, the data and the trainer:
  consistency-tta {0} --config tiny/demo
consistency-tta recipes lists all that come with the package, consistency-tta {0} --help has the options."""
#: An assignment without dashes, as Hydra takes it.
ASSIGNMENT = re.compile(r"\+{0,2}(?P<option>[A-Za-z_]\w*(?:\.\w+)*)=(?P<value>.*)", re.DOTALL)


def check_subcommand(args: list[str]) -> None:
    """Exit where the first word is no subcommand; Lightning's own message would not know ours."""
    known = first_words()
    if args[0].partition("=")[0] in ("--config", "-c"):
        refuse(f"expected a subcommand before {args[0]}, such as consistency-tta fit --config tiny/demo")
    if args[0].startswith("-"):
        check_options([args[0]], BEFORE_SUBCOMMAND, "consistency-tta --help")
    elif args[0] not in known:
        near = OTHER_NAMES.get(args[0]) or nearest(args[0], known)
        near = near or OTHER_NAMES.get(nearest(args[0], OTHER_NAMES) or "")
        hint = f"; did you mean {near!r}?" if near else ""
        raise SystemExit(f"error: expected one of {', '.join(known)}, got {args[0]!r}{hint}")
    after = [name.split()[1] for name in COMMANDS if name.startswith(f"{args[0]} ")]
    if after and len(args) > 1 and not args[1].startswith("-") and args[1] not in after:
        near = nearest(args[1], after)
        hint = f": did you mean {near}?" if near else ""
        refuse(f"expected {', '.join(after)} or an option after {args[0]}, got {args[1]}{hint}")


def check_lightning(args: list[str]) -> None:
    """Exit where one of Lightning's subcommands has no options, a wrong one, or one without dashes."""
    subcommand, options = args[0], args[1:]
    if not options:
        raise SystemExit(RECIPE.format(subcommand))
    if not options[0].startswith("-") and "=" not in options[0]:
        refuse(f"expected an option, got {options[0]}: did you mean --config {options[0]}?")
    known = SHARED_OPTIONS | LIGHTNING_OPTIONS[subcommand]
    check_assignments(options, known)
    check_options(options, known, f"consistency-tta {subcommand} --help")


def check_options(args: list[str], known: Iterable[str], help_command: str) -> None:
    """Exit with 2 where an option begins with none of the known names; what follows a dot is the parser's to check."""
    for word in takewhile(lambda word: word != "--", args):
        name = re.split(r"[.=+]", word.removeprefix("--"), maxsplit=1)[0]
        if word.startswith("--") and name not in known:
            near = nearest(name, known)
            hint = f": '{name}' is not known: did you mean '{near}'?" if near else ""
            refuse(f"unrecognized arguments: {word.partition('=')[0]}{hint}", help_command)


def check_assignments(args: list[str], known: Iterable[str]) -> None:
    """Exit with 2 where a known option is assigned without dashes, such as ``model.seed=3``, as Hydra takes it."""
    for before, word in zip(["", *args], args, strict=False):
        is_value = before.startswith("-") and "=" not in before
        if (found := ASSIGNMENT.fullmatch(word)) and found["option"].split(".")[0] in known and not is_value:
            right = f"--{found['option']} {shlex.quote(found['value'])}"
            refuse(f"expected an option with dashes, got {word}: did you mean {right}?")


def refuse(message: str, help_command: str | None = None) -> NoReturn:
    """Exit with 2, as for all wrong options."""
    sys.stderr.write(f"error: {message}\n")
    if help_command:
        sys.stderr.write(f"See {help_command} for what is accepted.\n")
    raise SystemExit(2)


def refuse_generate_sweep(args: list[str]) -> None:
    """Exit where ``generate`` has the option ``--sweep`` of earlier versions, with the command that replaced it."""
    if "--sweep" in args:
        place = args.index("--sweep")
        settings = list(takewhile(lambda word: not word.startswith("-"), args[place + 1 :]))
        others = args[:place] + args[place + 1 + len(settings) :]
        renamed = [word.replace("--judge.", "--evaluator.") for word in others]
        command = shlex.join(["consistency-tta", "sweep", *settings, *renamed])
        raise SystemExit(f"error: expected the command sweep instead of the option --sweep of generate: {command}")

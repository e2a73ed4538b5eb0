"""The command ``python -m tools.arena``."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("train", "evaluate", "report", "device")


def main(args: list[str] | None = None) -> None:
    """Run a subcommand."""
    args = sys.argv[1:] if args is None else args
    if not args or args[0] not in COMMANDS:
        raise SystemExit(f"error: expected one of {', '.join(COMMANDS)}, got {args[0] if args else 'nothing'}")
    import_module(f"tools.arena.{args[0]}").main(args[1:])


if __name__ == "__main__":
    main()

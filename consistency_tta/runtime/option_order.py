"""The order of options and configuration files on a command line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml


def check_order(args: list[str]) -> None:
    """Exit where an option stands before a configuration file that has it, and would silently replace it."""
    early: list[str] = []
    for word, following in zip(args, [*args[1:], ""], strict=False):
        option, _, value = word.partition("=")
        if option in ("--config", "-c"):
            config = _read_yaml(value or following)
            if replaced := [name for name in early if _has(config, name.removeprefix("--").split("."))]:
                raise SystemExit(
                    f"error: the file of --config would replace {replaced[0]}: put --config before all other options"
                )
        elif option.startswith("--"):
            early.append(option)


def _read_yaml(file: str) -> Any:
    """The content of a YAML file; nothing where it cannot be read, which the parser reports."""
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
        return yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    return None


def _has(config: Any, path: list[str]) -> bool:
    """Whether a configuration sets an option, such as ``trainer.max_steps``, in whole or in part."""
    for name in path:
        if not isinstance(config, dict):
            return config is not None
        config = config if name in config else config.get("init_args") or {}
        if name not in config:
            return False
        config = config[name]
    return True

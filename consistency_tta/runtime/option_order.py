"""The order of options and configuration files on a command line."""

from __future__ import annotations

import os.path
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from consistency_tta.runtime.deep_yaml import load_yaml


def check_order(args: list[str]) -> None:
    """Exit where something stands before a configuration that would silently replace it.

    That is an option that the configuration has, an option of a class that it names, and a list that an option or an
    earlier file adds to, such as ``--trainer.callbacks+`` or ``callbacks+:``, where it has the whole list. A
    configuration is given by ``--config``, or for a part of it, such as ``--trainer`` or ``--data``. It is also an
    option that adds to a list, before one with the whole list. Nor is null added to a list.
    """
    early: dict[str, str] = {}  # options without dashes, and how the message names them
    for word, following in zip(args, [*args[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        if word.startswith("-c"):  # as in -cFILE
            option, value = "-c", word[2:].removeprefix("=")
        if option in ("--config", "-c"):
            config = _read_yaml(value or following)
            config = config if isinstance(config, dict) else None  # the name of no file, which the parser reports
            replaced = next((named for name, named in early.items() if _has(config, name.split("."))), None)
            if replaced is not None:
                raise SystemExit(
                    f"error: the file of --config would replace {replaced}: put --config before all other options, and "
                    "the files that add to others last"
                )
            added_lists = {f"{name}+ of {value or following}": one for name, one in _added_lists(config).items()}
            _refuse_nothing(added_lists)
            early |= {named.partition("+")[0]: named for named in added_lists}
        elif option.startswith("--"):
            if added := early.get(f"{option.removeprefix('--')}+"):
                raise SystemExit(
                    f"error: {option} would replace what {added} has added: put {option} first, or write {added} again"
                )
            if within := [name for name in early if f"--{name}".startswith(f"{option}.")]:
                config = _read_yaml(value if equals else following)
                for name in within:
                    if _has(config, f"--{name}".removeprefix(f"{option}.").split(".")):
                        raise SystemExit(f"error: {option} may replace {early[name]}: put {option} first")
            if option.endswith("+"):
                _refuse_nothing({option: _read_yaml(value if equals else following)})
            early[option.removeprefix("--")] = option


def _read_yaml(value: str) -> Any:
    """The content of a YAML file, or of YAML itself; the text of what is neither, which the parser takes as it is."""
    with suppress(OSError, ValueError, yaml.YAMLError):  # of a file's name, too
        if os.path.isfile(value):  # noqa: PTH113  # Path refuses names that are too long
            value = Path(value).read_text(encoding="utf-8")
        return load_yaml(value)
    return value


def _added_lists(config: Any, before: str = "") -> dict[str, Any]:
    """The lists that a file adds to, without the ``+``, and what it adds."""
    if not isinstance(config, dict):
        return {}
    added = {f"{before}{key[:-1]}": config[key] for key in config if isinstance(key, str) and key.endswith("+")}
    for key, value in config.items():
        added |= _added_lists(value, f"{before}{key}.")
    return added


def _refuse_nothing(added: dict[str, Any]) -> None:
    """Exit where null is added to a list: the parser would put it in the list's place."""
    for name, value in added.items():
        if value is None:
            raise SystemExit(
                f"error: expected something to add as {name}, got null, which would remove all: leave it out"
            )


def _has(config: Any, path: list[str]) -> bool:
    """Whether a configuration sets an option, such as ``trainer.max_steps``, in whole or in part."""
    for name in path:
        if not isinstance(config, dict):
            return config is not None
        if "class_path" in config:
            return True  # a class takes the place of the arguments that stand before it
        if name.removesuffix("+") not in config:
            return False
        config = config[name.removesuffix("+")]
    return True

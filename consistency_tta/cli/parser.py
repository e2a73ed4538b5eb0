"""The parser of all subcommands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from consistency_tta.cli.parser_messages import one_line, unnest
from consistency_tta.runtime.deep_yaml import NESTED, is_too_deep
from consistency_tta.runtime.suggest import suggest
from consistency_tta.storage.text import split_lines

#: Folders of the configuration files that this process has read. By its number here a value finds its file's folder,
#: since interpolations are resolved when all files and options have been put together.
FOLDERS: list[str] = []


def set_up_parsing() -> None:
    """Settings of the parsers, which jsonargparse and OmegaConf keep for the whole process."""
    # ${...} in the YAML files is resolved after the command line's overrides. YAML files of any fsspec address are
    # read, as Lightning's parser does.
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True, config_read_mode_fsspec_enabled=True)
    # A run saves its configuration, and defaults such as that of Lightning's Timer are members of an Enum.
    yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))
    OmegaConf.register_resolver("fastest_precision", _fastest_precision, replace=True)
    OmegaConf.register_resolver("recipe_folder", lambda number: FOLDERS[int(number)], replace=True)


def _fastest_precision() -> str:
    from consistency_tta.runtime.precision import fastest_precision  # imports torch

    return fastest_precision()


class Parser(ArgumentParser):
    """jsonargparse's, with interpolation, and with the nearest right key in messages about wrong ones."""

    #: Classes whose arguments may be meant by a wrong key.
    known_classes: ClassVar[Iterable[type]] = ()
    #: Classes whose subclasses may be meant by a wrong name.
    plugin_classes: ClassVar[Iterable[type]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What an abbreviation means changes with the next option that is added.
        settings: dict[str, Any] = {"parser_mode": "omegaconf+", "allow_abbrev": False}
        super().__init__(*args, **(settings | kwargs))

    def parse_args(self, args: Any = None, *rest: Any, **kwargs: Any) -> Any:
        """Parse arguments; null for an argument in a group of a class, which jsonargparse would hand on as "None".

        Names that begin with ``~/`` begin with the user's home, see :func:`with_home`.
        """
        if isinstance(args, list):
            args = [f"{arg[:-4]}null" if isinstance(arg, str) and arg.endswith("=None") else arg for arg in args]
            if any(isinstance(arg, str) and is_too_deep(arg) for arg in args):
                self.error(NESTED)
        try:
            return with_home(super().parse_args(args, *rest, **kwargs))
        except OmegaConfBaseException as error:
            self.error(f"{split_lines(str(error))[0]}: correct the ${{...}} of {getattr(error, 'full_key', 'a value')}")
        except RecursionError:
            self.error(NESTED)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a configuration file, whose folder is ``${recipe_folder:}`` in it."""
        FOLDERS.append(str(Path(path).absolute().parent))
        try:
            return super().parse_path(path, *args, **kwargs)
        except RecursionError:
            self.error(f"{path}: {NESTED}")

    def parse_string(self, content: str, path: Any = "", *args: Any, **kwargs: Any) -> Any:
        """Read a configuration."""
        if is_too_deep(content):
            self.error(f"{path}: {NESTED}" if path else NESTED)
        if path:  # of parse_path
            content = content.replace("${recipe_folder:}", f"${{recipe_folder:{len(FOLDERS) - 1}}}")
        return super().parse_string(content, path, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the message and a suggestion, without the hundred lines of usage."""
        if not self.exit_on_error:
            super().error(message, ex)
        options = [action.dest for action in self._actions]
        message = self.explain(unnest(message))
        hint = suggest(message, self.known_classes, self.plugin_classes, options).removeprefix(message)
        positional = {action.dest for action in self._actions if not action.option_strings}
        sys.stderr.write(f"error: {one_line(message, positional)}{hint.replace(chr(10), ': ')}\n")
        command = self.prog.replace(" [options]", "") if " " in self.prog else f"{self.prog} SUBCOMMAND"
        sys.stderr.write(f"See {command} --help for what is accepted.\n")
        self.exit(2)

    def explain(self, message: str) -> str:
        """A message of jsonargparse in this project's words, where it has better ones."""
        return message


def with_home(value: Any) -> Any:
    """Settings with the user's home for ``~/``: no shell replaces that in a YAML file, or behind ``=``.

    Lightning does so for some of its settings, and a run would lie in two folders, of which one is called "~".
    """
    if isinstance(value, str | Path):
        return type(value)(os.path.expanduser(value)) if str(value).startswith("~/") else value  # noqa: PTH111
    if isinstance(value, Namespace):
        vars(value).update({name: with_home(one) for name, one in vars(value).items()})
        return value
    if isinstance(value, dict):
        return {name: with_home(one) for name, one in value.items()}
    return [with_home(one) for one in value] if isinstance(value, list) else value

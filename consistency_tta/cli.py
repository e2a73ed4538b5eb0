"""The command ``consistency-tta``: Lightning's fit, validate, test and predict, and this project's own subcommands."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import entry_points
from itertools import takewhile
from pathlib import Path
from traceback import walk_tb
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, set_parsing_settings
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf import OmegaConf

from consistency_tta import __version__
from consistency_tta.contracts import Loss
from consistency_tta.convert import convert
from consistency_tta.datamodules.check import data_check
from consistency_tta.encode import encode
from consistency_tta.evaluation.evaluate import evaluate
from consistency_tta.evaluation.sweep.command import sweep
from consistency_tta.export import export
from consistency_tta.generate import generate
from consistency_tta.listening import analyse, make, serve
from consistency_tta.runtime.option_order import check_order
from consistency_tta.runtime.precision import fastest_precision
from consistency_tta.runtime.suggest import nearest, suggest
from consistency_tta.runtime.trust import take_trust
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.checkpoint_file import check_resumable, newest_checkpoint, read_checkpoint
from consistency_tta.training.earlier_versions import moved_option, upgrade_config

logger = logging.getLogger(__name__)

#: Subcommands beside Lightning's.
COMMANDS: dict[str, Callable[..., Any]] = {
    "generate": generate,
    "evaluate": evaluate,
    "sweep": sweep,
    "export": export,
    "convert": convert,
    "encode": encode,
    "data-check": data_check,
    "listening-test": make,
    "listening-test make": make,
    "listening-test serve": serve,
    "listening-test analyse": analyse,
}

SYSTEMS: dict[str, dict[str, Any]] = {
    "--systems": {"nargs": "+", "required": True, "help": "name=folder, one or more; the files bear the clips' names"}
}
#: The arguments that a function's signature cannot tell: those given without their names, and lists.
ARGUMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "generate": {
        "texts": {
            "nargs": "*",
            "help": "captions, text files (.txt) of one a line, or one caption file (.csv, .jsonl)",
        },
    },
    "sweep": {
        "settings": {
            "nargs": "+",
            "metavar": "SETTING=VALUES",
            "help": "such as guidance_scale=1,2,3 steps=1,2: a folder for each combination, and curves of them",
        },
    },
    "export": {"checkpoint": {"type": Path, "help": "a .ckpt file that `consistency-tta fit` wrote"}},
    "convert": {
        "source": {
            "choices": ["tango", "audioldm", "consistencytta", "stable-audio", "tangoflux"],
            "help": "whose checkpoint it is",
        },
        "checkpoints": {"nargs": "+", "type": Path, "help": "its files, or folders of them; see docs/convert.md"},
    },
    "listening-test": SYSTEMS,
    "listening-test make": SYSTEMS,
    "listening-test serve": {"folder": {"type": Path, "help": "that `listening-test` wrote"}},
    "listening-test analyse": {
        "folder": {"type": Path, "help": "that `listening-test` wrote; its key and all answers in it are read"},
        "answers": {"nargs": "*", "type": Path, "help": "more answer files, or folders of them"},
    },
}

#: Errors in what the user gave; the third names a missing extra, the last is Lightning's, as of a GPU that is missing.
USER_ERRORS = (ValueError, OSError, ModuleNotFoundError, MisconfigurationException)


def main(args: list[str] | None = None) -> Any:
    """Run a command line.

    Args:
        args: arguments without the program's name; those of this process if None.

    Returns:
        What the command returns: the :class:`LightningCLI` of Lightning's subcommands.
    """
    # Frozen networks are meant to be in evaluation mode.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")
    # Lightning's use of torch's pytree, for its maintainers to mend.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    args = take_trust(sys.argv[1:] if args is None else args)
    load_plugins()
    # ${...} in the YAML files is resolved after the command line's overrides.
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    OmegaConf.register_resolver("fastest_precision", fastest_precision, replace=True)
    for words in (2, 1):  # "listening-test serve" before "listening-test"
        if (name := " ".join(args[:words])) in COMMANDS:
            return run(name, args[words:])
    check_command(args)
    check_order(args)
    return TrainingCLI(
        TrainingModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,  # the trainings bring their own: `model.init_args.optimization`
        seed_everything_default=0,
        parser_class=Parser,
        parser_kwargs={"prog": "consistency-tta", "version": __version__, "description": overview()},
        save_config_kwargs={"overwrite": True},
        args=None if args == sys.argv[1:] else args,  # LightningCLI warns about arguments given twice
    )


class TrainingCLI(LightningCLI):
    """Lightning's, in which a checkpoint brings weights and progress, and the configuration everything else."""

    def instantiate_classes(self) -> None:
        """Make model, data and trainer, or say in one line why not."""
        with one_line_errors():
            super().instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        """Fit, validate, test or predict; where this package itself refuses what it was given, say so in one line."""
        try:
            with one_line_errors(raised_here):
                super()._run_subcommand(subcommand)
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None
        except SystemExit as stopped:
            # Lightning leaves with 1 after Ctrl+C.
            if isinstance(stopped.__context__, KeyboardInterrupt):
                raise SystemExit(128 + signal.SIGINT) from None
            raise

    def _parse_ckpt_path(self) -> None:
        """Find the checkpoint of ``last``; refuse damaged ones and another class's before anything is built.

        Lightning's own method would put the checkpoint's hyperparameters in the place of what the YAML and the command
        line say: a new learning rate, or the new place of a moved teacher, would be ignored without a word.
        """
        subcommand = self.config.get("subcommand")
        settings = self.config.get(subcommand, {})
        path = settings.get("ckpt_path")
        if not path or path in ("best", "hpc"):
            return
        with one_line_errors():
            if path == "last":
                path = newest_checkpoint(Path(settings["trainer"].get("default_root_dir") or "."))
                settings["ckpt_path"] = str(path)
            content = check_resumable(path) if subcommand == "fit" else read_checkpoint(path, mmap=True)
        written = content.get("hyper_parameters", {}).get("_class_path")
        configured = settings["model"]["class_path"]
        if written is not None and written.rpartition(".")[2] != configured.rpartition(".")[2]:
            self.parser.error(f"the checkpoint {path} is of {written}, but the configuration's model is {configured}")


def check_command(args: list[str]) -> None:
    """Exit where the first word is no subcommand; Lightning's own message would not know ours."""
    known = [*LightningCLI.subcommands(), *dict.fromkeys(name.split()[0] for name in COMMANDS)]
    if args and not args[0].startswith("-") and args[0] not in known:
        near = nearest(args[0], known)
        hint = f"; did you mean {near!r}?" if near else ""
        raise SystemExit(f"error: expected one of {', '.join(known)}, got {args[0]!r}{hint}")


def refuse_generate_sweep(args: list[str]) -> None:
    """Exit where ``generate`` has the option ``--sweep`` of earlier versions, with the command that replaced it."""
    if "--sweep" in args:
        place = args.index("--sweep")
        settings = list(takewhile(lambda word: not word.startswith("-"), args[place + 1 :]))
        others = args[:place] + args[place + 1 + len(settings) :]
        renamed = [word.replace("--judge.", "--evaluator.") for word in others]
        command = shlex.join(["consistency-tta", "sweep", *settings, *renamed])
        raise SystemExit(f"error: expected the command sweep instead of the option --sweep of generate: {command}")


def escape_interpolation(text: str) -> str:
    """Text in which the parser's ``${...}`` stays as it is, for captions; k backslashes before it stay k."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def run(name: str, args: list[str]) -> Any:
    """Run one of this project's own subcommands."""
    if name == "generate":
        refuse_generate_sweep(args)
        args = [word if word.startswith("--") else escape_interpolation(word) for word in args]
    check_order(args)
    function = COMMANDS[name]
    parser = Parser(prog=f"consistency-tta {name}", description=(function.__doc__ or "").split("\n")[0])
    arguments = ARGUMENTS.get(name, {})
    for argument, options in arguments.items():
        parser.add_argument(argument, **options)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="a YAML file with the options below")
    parser.add_function_arguments(function, skip={argument.lstrip("-") for argument in arguments} or None)
    with one_line_errors():
        settings = parser.instantiate(parser.parse_args(args))
        return function(**{key: value for key, value in settings.items() if key != "config"})


def raised_here(error: BaseException) -> bool:
    """Whether a module of this package raised the error: not a user's, nor a library that one of them called."""
    frames = list(walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").split(".")[0] == "consistency_tta"


@contextmanager
def one_line_errors(concerned: Callable[[BaseException], bool] = lambda error: True) -> Iterator[None]:
    """Exit with the first cause of an error in what the user gave, instead of a traceback.

    CONSISTENCY_TTA_TRACEBACK=1 shows all tracebacks.

    Args:
        concerned: which errors; in training some are of the user's own code.
    """
    try:
        yield
    except USER_ERRORS as error:
        if os.environ.get("CONSISTENCY_TTA_TRACEBACK") or not concerned(error):
            raise
        cause: BaseException = error
        while deeper := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
            cause = deeper
        message = str(cause if isinstance(cause, USER_ERRORS) else error)
        raise SystemExit(f"error: {message}\n(CONSISTENCY_TTA_TRACEBACK=1 shows where)") from error


def load_plugins() -> None:
    """Import what installed packages registered, and our own plugins: a class that is imported needs no full path."""
    for room in (
        "losses",
        "datamodules",
        "diffusion.grid",
        "diffusion.solve",
        "diffusion.weighting",
        "training",
        "metrics.encoders",
    ):
        import_module(f"consistency_tta.{room}")
    for entry_point in entry_points(group="consistency_tta.plugins"):
        entry_point.load()


def overview() -> str:
    """What ``--help`` says first."""
    first = {function: name for name, function in reversed(COMMANDS.items())}  # of several names the first
    summaries = {
        name: (function.__doc__ or "").split("\n")[0].rstrip(".") for function, name in reversed(first.items())
    }
    further = "; ".join(f"{name} ({summary})" for name, summary in summaries.items())
    return f"Text to audio in one network query. Beside the subcommands below: {further}. Each has its own --help."


class Parser(LightningArgumentParser):
    """Lightning's parser with interpolation, and with the nearest right key in messages about wrong ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What an abbreviation means changes with the next option that is added.
        settings: dict[str, Any] = {"parser_mode": "omegaconf+", "allow_abbrev": False}
        super().__init__(*args, **(settings | kwargs))

    def parse_args(self, args: Any = None, *rest: Any, **kwargs: Any) -> Any:
        """Parse arguments; null for an argument in a group of a class, which jsonargparse would hand on as "None"."""
        if isinstance(args, list):
            args = [f"{arg[:-4]}null" if isinstance(arg, str) and arg.endswith("=None") else arg for arg in args]
        return super().parse_args(args, *rest, **kwargs)

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """Read a configuration, of version 0.1, too."""
        with suppress(yaml.YAMLError):  # which the parser reports
            config = yaml.safe_load(content)
            if isinstance(config, dict) and (upgraded := upgrade_config(config)) is not config:
                logger.warning("the configuration is of version 0.1 and read as docs/upgrade.md describes")
                content = yaml.safe_dump(upgraded, sort_keys=False)
        return super().parse_string(content, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the message and a suggestion, without the hundred lines of usage."""
        if not self.exit_on_error:
            super().error(message, ex)
        options = [action.dest for action in self._actions]
        wrong = re.search(r"training\.(?:\w+\.)*Distillation':\s+Option '(\w+)' is not accepted", message)
        if wrong and (moved := moved_option(wrong[1])):
            message = f"--model.{wrong[1]} is --model.{moved} since version 0.2, see docs/upgrade.md"
        sys.stderr.write(f"error: {suggest(message, [Trainer], [Loss], options)}\n")
        sys.stderr.write("See consistency-tta SUBCOMMAND --help for what is accepted.\n")
        self.exit(2)

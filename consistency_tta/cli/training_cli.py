"""Lightning's subcommands: fit, validate, test and predict."""

from __future__ import annotations

import errno
import logging
import re
import signal
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from consistency_tta import __version__
from consistency_tta.cli.changed_settings import changed_settings
from consistency_tta.cli.launcher import check_launcher
from consistency_tta.cli.parser import Parser, set_up_parsing
from consistency_tta.cli.plugins import load_plugins
from consistency_tta.cli.user_errors import chain, one_line_errors, raised_here, raised_in, raised_last_in
from consistency_tta.contracts import Loss, Objective
from consistency_tta.runtime.deep_yaml import load_yaml
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError, shortened
from consistency_tta.runtime.option_order import check_order
from consistency_tta.runtime.quiet import hide_advertisements, hide_loading_bars
from consistency_tta.runtime.shared_copies import share_copies
from consistency_tta.storage.atomic_directory import check_folder
from consistency_tta.storage.folder_lock import check_folder_free, release_folders
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.progress import StepProgressBar
from consistency_tta.training.callbacks.run_dir import claim_run_folder
from consistency_tta.training.callbacks.stop_signal import exit_status
from consistency_tta.training.callbacks.unused_folder import UnusedFolder
from consistency_tta.training.checkpoint_file import check_resumable, read_checkpoint
from consistency_tta.training.checkpoint_search import checkpoint_folders, listed, named_checkpoint, newest_first
from consistency_tta.training.earlier_versions import moved_option, upgrade_config
from consistency_tta.training.fully_sharded import shards
from consistency_tta.training.job_checkpoint import job_checkpoint, settings_digest
from consistency_tta.training.trainer_settings import check_settings

logger = logging.getLogger(__name__)

#: Lightning's module that loads checkpoints.
RESTORING = "lightning.pytorch.trainer.connectors.checkpoint_connector"
#: Its callbacks, and those of other packages that it exports.
CALLBACKS = ("lightning.pytorch.callbacks", "lightning.fabric.utilities.spike")
#: Its package that tries learning rates and batch sizes.
TUNING = "lightning.pytorch.tuner"
#: Modules that make folders and write files.
WRITING = ("lightning.pytorch.loggers", "lightning.pytorch.callbacks.model_checkpoint", claim_run_folder.__module__)
#: What a subcommand that has done nothing did not do, and settings of the trainer that may be the reason.
NOTHING = {
    "fit": "no step was trained: look at --trainer.max_steps, max_epochs, max_time and limit_train_batches",
    "validate": "no batch was validated: look at --trainer.limit_val_batches",
    "test": "no batch was tested: look at --trainer.limit_test_batches",
    "predict": "no sound was generated: look at --trainer.limit_predict_batches",
}
#: Numbers of the system's errors where no more can be written: full, the user's share used up, too large, read-only.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def run_lightning(args: list[str]) -> LightningCLI:
    """Run one of Lightning's subcommands."""
    # Frozen networks are meant to be in evaluation mode.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")
    # Lightning's use of torch's pytree, for its maintainers to mend.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # Arguments in which names of recipes are files already, for those of this process.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    hide_advertisements()
    load_plugins()
    hide_loading_bars()
    set_up_parsing()
    check_order(args)
    return TrainingCLI(
        TrainingModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,  # the trainings bring their own: `model.init_args.optimization`
        seed_everything_default=0,
        parser_class=TrainingParser,
        parser_kwargs={
            "prog": "consistency-tta",
            "version": __version__,
            "description": "Text to audio in one network query; consistency-tta --help has all subcommands.",
        },
        save_config_kwargs={"overwrite": True},
        args=args,
    )


class TrainingParser(Parser, LightningArgumentParser):
    """Lightning's parser; reads configurations of version 0.1, too."""

    known_classes = (Trainer,)
    plugin_classes = (Loss, Objective, TrainingModule, LightningDataModule)

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """Read a configuration, of version 0.1, too."""
        with suppress(yaml.YAMLError):  # which the parser reports
            config = load_yaml(content)
            if isinstance(config, dict) and (upgraded := upgrade_config(config)) is not config:
                logger.warning("the configuration is of version 0.1 and read as docs/upgrade.md describes")
                content = yaml.safe_dump(upgraded, sort_keys=False)
        return super().parse_string(content, *args, **kwargs)

    def explain(self, message: str) -> str:
        """Name the new place of an option that moved since version 0.1."""
        wrong = re.search(r"training\.(?:\w+\.)*Distillation':\s+Option '(\w+)' is not accepted", message)
        if wrong and (moved := moved_option(wrong[1])):
            return f"--model.{wrong[1]} is --model.{moved} since version 0.2, see docs/upgrade.md"
        return message


def check_root(root: str | Path | None) -> None:
    """Raise where a run's folder is a file, has no name, or the name of a variable that nothing has replaced."""
    name = "." if root is None else str(root)
    if not name.strip():  # "${trainer.default_root_dir}/model" would be a folder of the whole machine
        raise ConfigurationError(
            "expected a folder as --trainer.default_root_dir, got an empty name: write . for the current folder"
        )
    if variable := re.match(r"\$(\w+)", name):
        raise ConfigurationError(
            f"expected a folder as --trainer.default_root_dir, got {name}, which no shell has replaced: write "
            f"${{oc.env:{variable[1]}}}"
        )
    check_folder(Path(name), "--trainer.default_root_dir")


class TrainingCLI(LightningCLI):
    """Lightning's, in which a checkpoint brings weights and progress, and the configuration everything else."""

    def __init__(self, model: type, data: type, args: list[str], **settings: Any) -> None:
        self._first_word = args[0]
        super().__init__(model, data, args=args, **settings)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """A subcommand's parser, without options where another is asked for: all would take four times as long."""
        if self._first_word == subcommand or self._first_word not in self.subcommands():
            return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        return self.init_parser(**kwargs)

    def instantiate_classes(self) -> None:
        """Make model, data and trainer, or say in one line why not."""
        settings = self.config[self.subcommand]
        training = settings["model"]["class_path"].rpartition(".")[2]
        rank_zero_info(f"loading {training} for {settings['trainer']['default_root_dir'] or Path.cwd()}")
        with one_line_errors(), share_copies() if shards(settings["trainer"]["strategy"]) else nullcontext():
            check_root(settings["trainer"]["default_root_dir"])
            try:
                super().instantiate_classes()
            except (RuntimeError, TypeError) as error:  # such as of two callbacks whose state would have the same name
                if raised_last_in(error, ("lightning",)):
                    raise ConfigurationError(f"{shortened(error, 400)}: correct the configuration") from error
                raise
            check_launcher(self.trainer)
            check_settings(self.trainer)
        self.model.settings_digest = self.settings_digest

    def _set_seed(self) -> None:
        """Seed all generators, or say in one line that the number is no seed."""
        try:
            super()._set_seed()
        except ValueError as error:
            raise SystemExit(f"error: --seed_everything: {error}") from error

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Make the trainer, with one bar for the whole run unless the configuration has a bar of its own, or none."""
        configured = config.get("callbacks") or []
        known = [*(configured if isinstance(configured, list) else [configured]), *callbacks]
        if config.get("enable_progress_bar") is not False and not any(isinstance(one, ProgressBar) for one in known):
            callbacks = [*callbacks, StepProgressBar()]
        self.folder = UnusedFolder()
        return super()._instantiate_trainer(config, [*callbacks, self.folder])

    def _run_subcommand(self, subcommand: str) -> None:
        """Fit, validate, test or predict; where this package itself refuses what it was given, say so in one line."""
        undo = ExitStack()
        try:
            with one_line_errors(raised_here), self._errors_of_lightning(subcommand):
                claim_run_folder(self.trainer, undo)
                super()._run_subcommand(subcommand)
                # A process may have no batch where others have some; the first has the first ones.
                if self.trainer.is_global_zero and not (self.folder.used or self.folder.trained):
                    raise ConfigurationError(f"{NOTHING[subcommand]}, and at the number of clips")
        except SIGTERMException:
            raise SystemExit(exit_status(self.trainer)) from None
        except SystemExit as stopped:
            # Lightning leaves with 1 after Ctrl+C.
            if isinstance(stopped.__context__, KeyboardInterrupt):
                raise SystemExit(128 + signal.SIGINT) from None
            raise
        finally:
            release_folders()
            if not self.folder.used:
                undo.close()

    @contextmanager
    def _errors_of_lightning(self, subcommand: str) -> Iterator[None]:
        """Say in one line that a disk is full, or what Lightning refuses: a checkpoint, tuner, or callback."""
        try:
            yield
        except OSError as error:
            if isinstance(error, BrokenPipeError) and raised_in(error, "tqdm"):
                raise ConfigurationError(
                    "nobody reads standard output any more, as behind `| head`: write to a file, as by `> log.txt`; "
                    "--ckpt_path last goes on from the newest checkpoint, if there is one"
                ) from error
            if error.errno not in FULL_DISK and not any(raised_in(error, module) for module in WRITING):
                raise
            # Of a checkpoint that could not be written, if a logger only failed after it.
            known = next((cause for cause in chain(error) if isinstance(cause, CheckpointError)), None)
            raise CheckpointError(
                str(known)
                if known
                else f"cannot write the run's files in {self.trainer.default_root_dir} ({error}): free some space, "
                "make it writable, or name another folder; --ckpt_path last then goes on from the newest checkpoint, "
                "if there is one"
            ) from error
        except MisconfigurationException as error:
            raise ConfigurationError(f"{shortened(error)}: correct the configuration") from error
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if raised_last_in(error, ("jsonargparse",)):  # which writes the run's config.yaml
                raise ConfigurationError(
                    f"{shortened(error)}: make the folder writable, or name another as --trainer.default_root_dir"
                ) from error
            if raised_in(error, TUNING):
                raise ConfigurationError(
                    f"Lightning's tuners do not know this project's trainings: {shortened(error)}: leave out the "
                    "callback, and set --model.optimization.learning_rate or --data.batch_size yourself"
                ) from error
            if raised_last_in(error, CALLBACKS):
                raise ConfigurationError(
                    f"a callback of Lightning cannot be used like this: {shortened(error)}: correct its settings, or "
                    "leave it out"
                ) from error
            path = self.config[subcommand].get("ckpt_path") or self.trainer.ckpt_path  # that SLURM's job has left
            named = isinstance(error, CheckpointError) and str(path) in str(error)
            if not path or named or not raised_in(error, RESTORING):
                if isinstance(error, ValueError) and raised_last_in(error, ("lightning",)):
                    raise ConfigurationError(f"{shortened(error)}: correct the configuration") from error
                raise
            raise CheckpointError(
                f"{path} does not go with the configuration, or is damaged: {shortened(error)}: name a checkpoint of "
                "this configuration"
            ) from error

    def _parse_ckpt_path(self) -> None:
        """Find the checkpoint; refuse damaged ones, and those of another class, before anything is built.

        Lightning's own method would put the checkpoint's hyperparameters in the place of what the YAML and the command
        line say: a new learning rate, or the new place of a moved teacher, would be ignored without a word.
        """
        subcommand = self.config.get("subcommand")
        settings = self.config.get(subcommand, {})
        path = settings.get("ckpt_path")
        folders = checkpoint_folders(settings["trainer"])
        self.settings_digest = settings_digest(settings.as_dict())
        if path is None:
            with one_line_errors():
                of_job = job_checkpoint(folders[0], self.settings_digest)
            if of_job is None or subcommand != "fit":
                return
            path = str(of_job)
        if path == "auto" and subcommand == "fit" and not newest_first(*folders):
            rank_zero_info(f"no checkpoint below {listed(folders)}: begins at step 0")
            settings["ckpt_path"] = None
            return
        with one_line_errors():
            if "://" not in str(path):  # which is refused as it was written
                name, path = path, named_checkpoint(str(path), *folders)
                settings["ckpt_path"] = str(path)
                if subcommand == "fit" and name in ("auto", "last"):  # another run's, if that is still writing there
                    check_folder_free(path.parent)
            content = check_resumable(path) if subcommand == "fit" else read_checkpoint(path, mmap=True)
        written = content.get("hyper_parameters", {}).get("_class_path")
        configured = settings["model"]["class_path"]
        if written is not None and written.rpartition(".")[2] != configured.rpartition(".")[2]:
            self.parser.error(f"the checkpoint {path} is of {written}, but the configuration's model is {configured}")
        now = settings["model"].get("init_args") or Namespace()
        if subcommand == "fit" and (changed := changed_settings(content.get("hyper_parameters", {}), now.as_dict())):
            rank_zero_info(f"goes on from {path} with other settings: {'; '.join(changed)}")

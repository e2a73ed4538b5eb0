"""All subcommands. This module imports nothing heavy, so that ``--help`` and a typo are answered at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Command:
    """One of this project's own subcommands.

    Attributes:
        module: where its function is.
        function: its function's name; the docstring's first line describes the subcommand.
        arguments: what the function's signature does not have: names of positional arguments, and lists.
        lightning: whether it reads classes of trainings or datamodules, which import Lightning.
        trainer: whether its argument ``trainer`` is the settings of Lightning's, of which a later file may have some.
        plain: whether no option names a class, so that no plugins are imported.
        surroundings: a context manager of the same module, of the parser and the configuration files, within which the
            arguments become objects and the function runs.
    """

    module: str
    function: str
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    lightning: bool = False
    trainer: bool = False
    plain: bool = False
    surroundings: str | None = None

    @property
    def argument_names(self) -> set[str]:
        """The names of :attr:`arguments` in the function's signature."""
        return {argument.lstrip("-").replace("-", "_") for argument in self.arguments}


#: Lightning's subcommands.
LIGHTNING = {
    "fit": "Train: distil a student, or train a teacher, a codec or a CLAP.",
    "validate": "Evaluate a checkpoint on the validation clips.",
    "test": "Evaluate a checkpoint on the test clips.",
    "predict": "Write the sounds of the test clips' captions.",
}
#: What a command line of Lightning's subcommands may begin an option with; tests compare it with Lightning's parser.
LIGHTNING_OPTIONS = {
    "fit": {"ckpt_path", "weights_only"},
    "validate": {"ckpt_path", "verbose", "weights_only"},
    "test": {"ckpt_path", "verbose", "weights_only"},
    "predict": {"return_predictions", "ckpt_path", "weights_only"},
}
#: Options of all Lightning's subcommands.
SHARED_OPTIONS = {"config", "help", "print_config", "seed_everything", "trainer", "model", "data"}

SYSTEMS: dict[str, Any] = {
    "--systems": {"nargs": "+", "required": True, "help": "name=folder, one or more; the files bear the clips' names"}
}
TEST_FOLDER: dict[str, Any] = {"type": Path, "help": "that `listening-test` wrote"}
MAKE_LISTENING_TEST = Command("consistency_tta.listening.builder", "make", SYSTEMS)

#: This project's own subcommands.
COMMANDS: dict[str, Command] = {
    "generate": Command(
        "consistency_tta.generate",
        "generate",
        {
            "texts": {
                "nargs": "*",
                "help": "captions, text files (.txt) of one a line, or one caption file (.csv, .jsonl)",
            }
        },
    ),
    "evaluate": Command("consistency_tta.evaluation.evaluate", "evaluate"),
    "sweep": Command(
        "consistency_tta.evaluation.sweep.command",
        "sweep",
        {
            "settings": {
                "nargs": "+",
                "metavar": "SETTING=VALUES",
                "help": "such as guidance_scale=1,2,3 steps=1,2: a folder for each combination, and curves of them",
            }
        },
    ),
    "app": Command(
        "consistency_tta.app.command",
        "app",
        {"--no-browser": {"action": "store_true", "help": "do not open the page in a browser"}},
    ),
    "benchmark": Command(
        "consistency_tta.benchmark.command",
        "benchmark",
        {"model": {"help": "model folder, bundled name or hub id"}},
    ),
    "export": Command(
        "consistency_tta.export",
        "export",
        {"checkpoint": {"type": Path, "help": "a .ckpt file that `fit` wrote; for graphs also a model folder or name"}},
        lightning=True,
    ),
    "convert": Command(
        "consistency_tta.convert.command",
        "convert",
        {
            "source": {
                "choices": ["tango", "audioldm", "consistencytta", "stable-audio", "tangoflux"],
                "help": "whose checkpoint it is",
            },
            "checkpoints": {"nargs": "+", "type": Path, "help": "its files, or folders of them; see docs/convert.md"},
        },
    ),
    "plan": Command(
        "consistency_tta.planning.command", "plan", lightning=True, trainer=True, surroundings="shapes_only"
    ),
    "encode": Command("consistency_tta.encode", "encode", lightning=True),
    "recipes": Command("consistency_tta.cli.recipes", "list_recipes", plain=True),
    "recipes copy": Command(
        "consistency_tta.cli.recipes",
        "copy",
        {
            "name": {"help": "of a recipe, such as tiny/consistency, or of a family, such as tiny"},
            "folder": {"type": Path, "help": "where to put the copy"},
        },
        plain=True,
    ),
    "completion": Command(
        "consistency_tta.cli.completion",
        "completion",
        {
            "shell": {
                "choices": ["bash", "zsh", "fish"],
                "help": "bash: write the script to a file that ~/.bashrc sources; zsh: to _consistency-tta in a folder "
                "of fpath; fish: to ~/.config/fish/completions/consistency-tta.fish",
            }
        },
        plain=True,
    ),
    "data-check": Command("consistency_tta.datamodules.data_check", "data_check", lightning=True),
    "listening-test": MAKE_LISTENING_TEST,
    "listening-test make": MAKE_LISTENING_TEST,
    "listening-test serve": Command("consistency_tta.listening.server", "serve", {"folder": TEST_FOLDER}),
    "listening-test analyse": Command(
        "consistency_tta.listening.analysis",
        "analyse",
        {
            "folder": {"type": Path, "help": "that `listening-test` wrote; its key and all answers in it are read"},
            "answers": {"nargs": "*", "type": Path, "help": "more answer files, or folders of them"},
        },
    ),
}
#: What other programs call a subcommand.
OTHER_NAMES = {
    "train": "fit",
    "distil": "fit",
    "distill": "fit",
    "resume": "fit",
    "sample": "generate",
    "synthesize": "generate",
    "infer": "generate",
    "inference": "generate",
    "gui": "app",
    "web": "app",
    "speed": "benchmark",
    "metrics": "evaluate",
}


def first_words() -> list[str]:
    """The first word of each subcommand, Lightning's first."""
    return [*LIGHTNING, *dict.fromkeys(name.split()[0] for name in COMMANDS)]

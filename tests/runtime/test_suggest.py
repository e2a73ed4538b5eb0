"""Suggestions for messages of jsonargparse, which are real ones, from wrong keys in lightning_configs/tiny."""

from __future__ import annotations

import pytest
from lightning.pytorch import Trainer

import consistency_tta.diffusion.solve  # noqa: F401  # its classes are suggested
from consistency_tta.contracts import Loss
from consistency_tta.losses import LatentL2Loss
from consistency_tta.runtime.suggest import nearest, suggest

CALLBACK = """Parser key "trainer.callbacks":
  Does not validate against any of the Union subtypes
  Subtypes: [list[lightning.pytorch.callbacks.callback.Callback], <class 'lightning.pytorch.callbacks.callback.Callback'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path '{path}':
        Option '{wrong}' is not accepted
    - Not a valid subclass of Callback
      Subclass types expect one of:
      - a class path (str)
      - a dict with class_path entry
      - a dict without class_path but with init_args entry (class path given previously)
      - a dict with parameters accepted by the base class (implicit class_path)
    - Expected a <class 'NoneType'>
  Given value type: <class 'list'>
  Given value: [{{'class_path': '{path}', 'init_args': {{'{wrong}': 2}}}}]"""  # noqa: E501

MODEL = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'consistency_tta.training.base.TrainingModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'consistency_tta.training.Distillation':
        {problem}
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {{'class_path': 'consistency_tta.training.Distillation', 'init_args': {{'teacher': 'x', {given}}}}}"""

GRID = """Parser key "grid":
          Does not validate against any of the Union subtypes
          Subtypes: [<class 'consistency_tta.contracts.TimeGrid'>, <class 'NoneType'>]
          Errors:
            - Problem with given class_path 'consistency_tta.diffusion.grid.KarrasGrid':
                Option 'roh' is not accepted
            - Expected a <class 'NoneType'>
          Given value type: <class 'dict'>
          Given value: {'class_path': 'consistency_tta.diffusion.grid.KarrasGrid', 'init_args': {'roh': 3}}"""

NAME = """Parser key "solver":
          Does not validate against any of the Union subtypes
          Subtypes: [<class 'consistency_tta.contracts.Solver'>, <class 'NoneType'>]
          Errors:
            - Expected a dot import path string: Huen
            - Expected a <class 'NoneType'>"""

DATA = """Parser key "data":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.core.datamodule.LightningDataModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'consistency_tta.datamodules.AudioCapDataModule':
        module 'consistency_tta.datamodules' has no attribute 'AudioCapDataModule'
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {'class_path': 'consistency_tta.datamodules.AudioCapDataModule'}"""

TYPOS = {
    "a callback of Lightning": (
        CALLBACK.format(path="lightning.pytorch.callbacks.ModelCheckpoint", wrong="dirpat"),
        "dirpat",
        "dirpath",
    ),
    "a callback of ours": (
        CALLBACK.format(path="consistency_tta.training.LogSounds", wrong="num_sound"),
        "num_sound",
        "num_sounds",
    ),
    "a short key": (
        MODEL.format(
            problem=GRID,
            given="'grid': {'class_path': 'consistency_tta.diffusion.grid.KarrasGrid', 'init_args': {'roh': 3}}",
        ),
        "roh",
        "rho",
    ),
    "a key of a dataclass": (
        MODEL.format(
            problem="Group 'optimization' does not accept option 'lerning_rate'",
            given="'optimization': {'lerning_rate': 3}",
        ),
        "lerning_rate",
        "learning_rate",
    ),
    "a class": (DATA, "AudioCapDataModule", "AudioCapsDataModule"),
    "a section": ("Subcommand 'fit' does not accept option 'modle'", "modle", "model"),
    "a key of the trainer": ("Subcommand 'fit' does not accept option 'trainer.max_stepz'", "max_stepz", "max_steps"),
    "a bare class name": (
        MODEL.format(problem=NAME, given="'solver': 'Huen'"),
        "Huen",
        "Heun",
    ),
    "the command line": ("unrecognized arguments: --modle.teacher x", "modle", "model"),
}


@pytest.mark.parametrize("case", TYPOS)
def test_the_nearest_right_key_is_named(case: str) -> None:
    message, wrong, right = TYPOS[case]
    assert suggest(message, [Trainer]) == f"{message}\n'{wrong}' is not known: did you mean '{right}'?"


@pytest.mark.parametrize(
    "message",
    [
        MODEL.format(problem="Option 'zzzzqq' is not accepted", given="'zzzzqq': 3"),
        MODEL.format(problem="Option 'foo' is not accepted", given="'foo': 3"),
        "Subcommand 'fit' does not accept option 'trainer.zzzzqq'",
        "Problem with given class_path 'no_such_package.Loss':\n  No module named 'no_such_package'",
        "the following arguments are required: captions",
    ],
)
def test_where_nothing_is_near_the_message_stays(message: str) -> None:
    assert suggest(message, [Trainer]) == message


def test_plugins_and_options_are_suggested() -> None:
    message = 'Parser key "losses":\n  Expected a dot import path string: LatentL2Los'
    assert suggest(message, [Trainer]) == message
    assert suggest(message, [Trainer], [Loss]).endswith(f"did you mean '{LatentL2Loss.__name__}'?")
    message = "unrecognized arguments: --guid 3"
    assert suggest(message, [], options=["guidance_scale"]).endswith("did you mean 'guidance_scale'?")


def test_what_begins_alike_is_near() -> None:
    assert nearest("guid", ["model", "guidance_scale"]) == "guidance_scale"
    assert nearest("zzz", ["model"]) is None
    assert [nearest(word, ["guidance_scale"]) for word in ("gu", "gui")] == [None, "guidance_scale"]


def test_the_shorter_a_word_the_more_may_differ() -> None:
    """Shares of equal letters: two thirds, two thirds, 0.6 and 0.75."""
    assert nearest("roh", ["rho"]) == "rho"
    assert nearest("abcde", ["xaybzcd"]) is None
    assert nearest("abcdefghij", ["abcdefxxxx"]) is None
    assert nearest("abcd", ["abxd"]) == "abxd"


def test_a_class_that_a_module_lacks_is_looked_for_among_its_classes() -> None:
    message = "Problem with given class_path 'torch.nn.Linea':\n  module 'torch.nn' has no attribute 'Linea'"
    assert suggest(message, []).endswith("did you mean 'Linear'?")


def test_arguments_that_are_handed_on_are_those_of_the_class_above() -> None:
    class Base:
        def __init__(self, learning_rate: float = 1.0) -> None: ...

    class HandsOn(Base):
        def __init__(self, **settings: float) -> None: ...

    class Own(Base):
        def __init__(self, rate: float = 1.0) -> None: ...

    message = "Option 'lerning_rate' is not accepted"
    assert suggest(message, [HandsOn]).endswith("did you mean 'learning_rate'?")
    assert suggest(message, [Own]) == message

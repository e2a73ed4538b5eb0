"""Messages of jsonargparse in one line; the long ones here are real."""

from __future__ import annotations

import pytest

from consistency_tta.cli.parser_messages import one_line, unnest, without_types

UNION = """Parser key "steps":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: many"""
CLASSES = """Parser key "grid":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'consistency_tta.contracts.diffusion.TimeGrid'>, <class 'NoneType'>]
  Errors:
    - Expected a dot import path string: LinspaceGird
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: LinspaceGird"""

OTHER_KIND = """Parser key "losses":
  Does not validate against any of the Union subtypes
  Subtypes: [dict[str, consistency_tta.contracts.loss.Loss], <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'mine.L':
        No module named 'mine'
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {'l': 'mine.L'}"""
#: A class of a file that lacks a module, for a loss, inside of a class for the whole model.
NO_MODULE = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'consistency_tta.training.base.TrainingModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'consistency_tta.training.Distillation':
        Parser key "losses":
          Does not validate against any of the Union subtypes
          Subtypes: [dict[str, consistency_tta.contracts.loss.Loss], <class 'NoneType'>]
          Errors:
            - Problem with given class_path 'my_losses.Mine':
                No module named 'nowhere'
            - Expected a <class 'NoneType'>
          Given value type: <class 'jsonargparse._util.NestedArg'>
          Given value: NestedArg(key='latent', val='my_losses.Mine')
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='losses.latent', val='my_losses.Mine')"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (UNION, "expected a whole number or null for --steps, got many"),
        (CLASSES, "expected a class that is a TimeGrid for --grid, got LinspaceGird"),
        (
            "Parser key \"seed\":\n  Expected a <class 'int'>. Got value: abc",
            "expected a whole number for --seed, got abc",
        ),
        (
            OTHER_KIND,
            "expected a class that is a Loss for --losses, got {'l': 'mine.L'}: No module named 'mine'",
        ),
        (
            NO_MODULE,
            "expected a class that is a Loss for --model.losses.latent, got my_losses.Mine: No module named 'nowhere'",
        ),
        ("the following arguments are required: model", "expected a value for --model, got none"),
        ("something else\n  of two lines", "something else; of two lines"),
    ],
    ids=["union", "classes", "one type", "other kind", "no module", "required", "other"],
)
def test_a_message_is_one_line(message: str, line: str) -> None:
    assert one_line(unnest(message)) == line


def test_an_argument_without_dashes_is_named_without() -> None:
    line = one_line("the following arguments are required: shell, model", {"shell"})
    assert line == "expected a value for shell and --model, got none"


def test_a_value_inside_of_an_option_names_the_whole_option() -> None:
    message = UNION.replace('"steps"', '"model"').replace("many", "NestedArg(key='loss_weights', val='heavy')")
    assert one_line(unnest(message)) == "expected a whole number or null for --model.loss_weights, got heavy"


def test_what_a_recipe_would_have_names_one() -> None:
    line = one_line("the following arguments are required: fit.data, fit.model")
    assert "--data and --model" in line
    assert "--config tiny/demo" in line


def test_a_class_that_cannot_be_made_says_why_without_the_types_tried_in_its_place() -> None:
    message = (
        "Does not validate against any of the Union subtypes\nSubtypes: [<class 'a.Logger'>, <class 'bool'>]\nErrors:\n"
        "  - Problem with given class_path 'a.WandbLogger':\n      Requirement 'wandb' not met.\n      Install it\n"
        "  - Expected a <class 'bool'>\nGiven value type: <class 'x'>\nGiven value: Namespace(a=1)"
    )
    assert without_types(message) == "a.WandbLogger: Requirement 'wandb' not met. Install it"
    assert without_types("another\nmessage") == "another\nmessage"

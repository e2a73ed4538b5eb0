"""Objects that a configuration names are found by path or name, and nothing else is called."""

from __future__ import annotations

import pytest
from torch import nn

from consistency_tta.runtime.class_path import build, import_class
from consistency_tta.runtime.errors import ConfigurationError


def test_a_class_is_found_by_its_path_or_by_its_name_at_home() -> None:
    assert import_class("torch.nn.Linear", nn.Module) is nn.Linear
    assert import_class("torch.nn.Linear", nn.Module, home=pytest) is nn.Linear  # type: ignore[arg-type]
    assert import_class("Linear", (int, nn.Module), home=nn) is nn.Linear


@pytest.mark.parametrize("path", ["no_such_module.Thing", "torch.nn.Nothing", "Linear", "", ".Linear"])
def test_what_does_not_exist_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=f"got '{path}' "):
        import_class(path, nn.Module)


@pytest.mark.parametrize("path", ["torch.nn.Parameter", "torch.relu", "torch.nn"])
def test_what_is_of_another_kind_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=f"expected a int or Module, got '{path}'"):
        import_class(path, (int, nn.Module))


def test_a_name_that_is_not_at_home_is_looked_for_there() -> None:
    with pytest.raises(ConfigurationError, match=r"class's name in torch\.nn"):
        import_class("Nothing", nn.Module, home=nn)


def test_an_object_is_built_from_a_name_or_with_arguments() -> None:
    assert isinstance(build("ReLU", nn.Module, nn), nn.ReLU)
    spec = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 3, "out_features": 2}}
    assert build(spec, nn.Module, nn).weight.shape == (2, 3)
    for wrong in ({}, "torch.relu", {"class_path": "torch.relu"}):
        with pytest.raises(ConfigurationError):
            build(wrong, nn.Module, nn)

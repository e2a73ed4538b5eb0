"""Whose classes a file may name: of this package, its libraries, plugins, and modules that the user trusts."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint

import pytest

from consistency_tta.runtime import trust as module
from consistency_tta.runtime.trust import VARIABLE, is_trusted, take_trust, trust


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.parametrize("path", ["consistency_tta.a.B", "diffusers.UNet2DModel", "transformers.a.b.C"])
def test_this_package_and_its_libraries_are_trusted(path: str) -> None:
    assert is_trusted(path)
    assert not is_trusted(f"other.{path}")
    assert not is_trusted(path.replace(".", "s.", 1))


def test_a_module_that_is_trusted_has_all_below_it_and_nothing_beside() -> None:
    assert not is_trusted("mine.part.Network")
    trust(["mine.part", "other"])
    trust(["mine.part", "third"])
    assert os.environ[VARIABLE] == "mine.part,other,third"  # as processes that are started inherit it
    for path in ("mine.part", "mine.part.Network", "mine.part.deep.Network", "other.Network", "third"):
        assert is_trusted(path)
    for path in ("mine", "mine.Network", "mine.parts.Network", "part.Network"):
        assert not is_trusted(path)


def test_plugins_are_trusted_by_their_top_level_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint("any", "plugged.losses", group)] if group == "consistency_tta.plugins" else []

    monkeypatch.setattr(module, "entry_points", entry_points)
    assert is_trusted("plugged.other.Loss")
    assert not is_trusted("losses.Loss")


@pytest.mark.parametrize(
    ("line", "rest", "trusted"),
    [
        ("export a.ckpt --trust mine --output b", "export a.ckpt --output b", "mine"),
        ("--trust=mine fit --trust other.part", "fit", "mine,other.part"),
        ("fit --trust [mine,other] --trusted x", "fit --trusted x", "mine,other"),
        ("fit --model.trust x=y", "fit --model.trust x=y", ""),
    ],
)
def test_options_are_taken_from_the_command_line(line: str, rest: str, trusted: str) -> None:
    assert take_trust(line.split()) == rest.split()
    assert os.environ[VARIABLE] == trusted


def test_spaces_between_modules_do_not_count() -> None:
    take_trust(["--trust", "[mine, other]"])
    assert os.environ[VARIABLE] == "mine,other"


@pytest.mark.parametrize(
    "line", ["fit --trust", "fit --trust=", "--trust --config a.yaml", "--trust []", "--trust [,]"]
)
def test_no_module_is_an_error(line: str) -> None:
    with pytest.raises(SystemExit, match="--trust MODULE"):
        take_trust(line.split())

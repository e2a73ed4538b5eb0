"""What users import is exported by the room it is in."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningDataModule
from torchmetrics import Metric

from consistency_tta.contracts import Loss, Objective
from consistency_tta.training.base import TrainingModule

ROOT = Path(__file__).parents[1]
#: The plugins of each room.
KINDS: dict[str, tuple[type, ...]] = {
    "datamodules": (LightningDataModule,),
    "losses": (Loss,),
    "metrics": (Metric,),
    "training": (Objective, TrainingModule, Callback),
}
#: Callbacks that every training, or the command line, adds by itself.
AUTOMATIC = {"HoldCheckpointFolders", "LossSpikes", "SaveAdapter", "SaveOnSigterm", "SkipNonFiniteSteps"}
AUTOMATIC |= {"UnusedFolder", "WriteSounds"}


def plugins(room: str) -> Iterator[type]:
    package = importlib.import_module(f"consistency_tta.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name and issubclass(value, KINDS[room]):
                yield value


@pytest.mark.parametrize("room", KINDS)
def test_all_plugins_are_exported(room: str) -> None:
    exported = importlib.import_module(f"consistency_tta.{room}").__all__
    found = {value for value in plugins(room) if not value.__name__.startswith("_")}
    bases = {base for value in found for base in value.__mro__[1:]}
    assert len(found) > 4
    assert {value.__name__ for value in found - bases} - AUTOMATIC <= set(exported)


@pytest.mark.parametrize("room", KINDS)
def test_documented_classes_can_be_imported(room: str) -> None:
    package = importlib.import_module(f"consistency_tta.{room}")
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("lightning_configs/**/*.yaml")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named = set(re.findall(rf"consistency_tta\.{room}\.([A-Z]\w+)", text))
    imported = re.findall(rf"from consistency_tta\.{room} import ([\w, ]+)", text)
    named |= {name.strip() for names in imported for name in names.split(",")}
    assert {name for name in named if not hasattr(package, name)} == set()

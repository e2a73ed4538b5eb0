"""Imports plugins: a class that is imported needs no full path on the command line and in YAML files."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

#: Of trainings and their data; these import Lightning.
TRAINING = ("losses", "datamodules", "diffusion.solve", "diffusion.weighting", "training", "metrics.encoders")
#: Of generating.
GENERATION = ("diffusion.grid",)


def load_plugins() -> None:
    """Import all of this project's plugins, and those of installed packages."""
    _load((*TRAINING, *GENERATION))


def load_generation_plugins() -> None:
    """Import what ``generate`` may name, and the plugins of installed packages."""
    _load(GENERATION)


def _load(rooms: tuple[str, ...]) -> None:
    for room in rooms:
        import_module(f"consistency_tta.{room}")
    for entry_point in entry_points(group="consistency_tta.plugins"):
        entry_point.load()

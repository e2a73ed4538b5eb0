"""The networks that metrics hear with, by name."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from consistency_tta.metrics.embedder import AudioEmbedder
from consistency_tta.metrics.embedders.clap import LaionCLAP, TinyCLAP, TransformersCLAP
from consistency_tta.metrics.embedders.encodec import Encodec
from consistency_tta.metrics.embedders.mn04 import Mn04
from consistency_tta.metrics.embedders.panns import PANNs
from consistency_tta.metrics.embedders.vggish import VGGish

__all__ = [
    "EMBEDDERS",
    "Encodec",
    "LaionCLAP",
    "Mn04",
    "PANNs",
    "TinyCLAP",
    "TransformersCLAP",
    "VGGish",
    "make_embedder",
]

#: Classes by their short names. A plugin adds its own when it is imported.
EMBEDDERS: dict[str, type[AudioEmbedder]] = {
    embedder.name: embedder for embedder in (Mn04, TransformersCLAP, TinyCLAP, VGGish, PANNs, Encodec, LaionCLAP)
}


def make_embedder(name: str, **options: Any) -> AudioEmbedder:
    """An embedder by name; it is made at once or not at all, and no server is asked.

    Args:
        name: a key of :data:`EMBEDDERS`, to which the modules in the entry-point group ``consistency_tta.plugins`` may
            have added some, or the full path of a class, ``package.module.Class``.
        **options: arguments of the class, such as ``weights``.

    Raises:
        ValueError: there is no such embedder, or no such option.
        FileNotFoundError: its checkpoint is not there; the message says what to put where.
        ModuleNotFoundError: the extra is not installed.
    """
    for entry_point in entry_points(group="consistency_tta.plugins"):
        entry_point.load()
    made = EMBEDDERS.get(name) or _of_path(name)
    if unknown := options.keys() - (known := inspect.signature(made).parameters.keys()):
        raise ValueError(
            f"{name} has no option {', '.join(sorted(unknown))}: its options are {', '.join(known) or 'none'}"
        )
    return made(**options)


def _of_path(path: str) -> type[AudioEmbedder]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"expected an embedder, one of {', '.join(sorted(EMBEDDERS))}, or a class as package.module.Class, got "
            f"{path!r} ({error})"
        ) from None
    if not (isinstance(found, type) and issubclass(found, AudioEmbedder)):
        raise ValueError(f"expected {path} to be a subclass of {AudioEmbedder.__module__}.AudioEmbedder, got {found!r}")
    return found

"""The encoders that metrics use, by name."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from consistency_tta.components.clap import TinyClap, TransformersClap
from consistency_tta.components.laion import LaionClap
from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.encoders.encodec import Encodec
from consistency_tta.metrics.encoders.mn04 import Mn04
from consistency_tta.metrics.encoders.panns import PANNs
from consistency_tta.metrics.encoders.vggish import VGGish
from consistency_tta.runtime.errors import ConfigurationError

__all__ = [
    "ENCODERS",
    "Encodec",
    "LaionClap",
    "Mn04",
    "PANNs",
    "TinyClap",
    "TransformersClap",
    "VGGish",
    "make_encoder",
]

#: Classes by their short names. A plugin adds its own when it is imported.
ENCODERS: dict[str, type[AudioEncoder]] = {
    encoder.name: encoder for encoder in (Mn04, TransformersClap, TinyClap, VGGish, PANNs, Encodec, LaionClap)
}


def make_encoder(name: str, **options: Any) -> AudioEncoder:
    """An encoder by name. Nothing is downloaded: it is built from local files, or an error names what is missing.

    Args:
        name: a key of :data:`ENCODERS`, to which the modules in the entry-point group ``consistency_tta.plugins`` may
            have added some, or the full path of a class, ``package.module.Class``.
        **options: arguments of the class, such as ``weights``.

    Raises:
        ConfigurationError: the encoder or an option is unknown.
        FileNotFoundError: its checkpoint does not exist; the message names the URL and the place.
        MissingExtraError: the extra is not installed.
    """
    for entry_point in entry_points(group="consistency_tta.plugins"):
        entry_point.load()
    encoder = ENCODERS.get(name) or _by_path(name)
    if unknown := options.keys() - (known := inspect.signature(encoder).parameters.keys()):
        raise ConfigurationError(
            f"{name} has no option {', '.join(sorted(unknown))}: its options are {', '.join(known) or 'none'}"
        )
    return encoder(**options)


def _by_path(path: str) -> type[AudioEncoder]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"expected an encoder, one of {', '.join(sorted(ENCODERS))}, or a class as package.module.Class, got "
            f"{path!r} ({error})"
        ) from None
    if not (isinstance(found, type) and issubclass(found, AudioEncoder)):
        raise ConfigurationError(f"expected {path} to be a subclass of consistency_tta.contracts.AudioEncoder")
    return found

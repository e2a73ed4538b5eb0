"""Earlier class paths, ``consistency_tta.metrics.embedders.*``: configurations that have them still load."""

from __future__ import annotations

from typing import Any

from consistency_tta.metrics import encoders

RENAMED = {"TransformersCLAP": "TransformersClap", "TinyCLAP": "TinyClap", "LaionCLAP": "LaionClap"}


def __getattr__(name: str) -> Any:
    return getattr(encoders, RENAMED.get(name, name))

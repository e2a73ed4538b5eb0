"""Components of a published folder in diffusers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consistency_tta.convert.checkpoint import Checkpoint, read
from consistency_tta.storage.text import parse_json, read_text


def read_component(folder: Path, *names: str) -> tuple[dict[str, Any], Checkpoint]:
    """Configuration and weights of one component's folder.

    Args:
        folder: of the component, such as ``vae``.
        *names: of the file of weights, without its ending; the first that is there is read, safetensors before others.

    Raises:
        FileNotFoundError: if there is no configuration, or there are no weights.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"expected a component in diffusers' layout in {folder}, but it has no config.json")
    candidates = [folder / f"{name}{suffix}" for suffix in (".safetensors", ".bin") for name in names]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no weights in {folder}: expected one of {', '.join(path.name for path in candidates)}"
        )
    return parse_json(read_text(config), str(config)), read(found[0])

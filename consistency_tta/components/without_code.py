"""Models and tokenizers of transformers, loaded without running code of their folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from consistency_tta.runtime.errors import UntrustedClassError
from consistency_tta.storage.text import parse_json, read_text


def load_without_code(load: Callable[..., Any], name: str | Path) -> Any:
    """Load a folder or model of the hub; transformers itself would ask on the terminal whether to run its code.

    Args:
        load: such as ``AutoTokenizer.from_pretrained``.
        name: folder or hub id.

    Raises:
        UntrustedClassError: if it cannot be loaded without code of its own.
    """
    try:
        return load(name, trust_remote_code=False)
    except ValueError as error:
        if "trust_remote_code" not in str(error) and not _names_code(Path(name)):
            raise
        raise UntrustedClassError(
            f"{name} names a class of its own code (auto_map in its config.json or tokenizer_config.json), which is "
            "not run: use a model of a class that transformers has, or write a TextEncoder plugin that loads it"
        ) from None


def _names_code(folder: Path) -> bool:
    """Whether a local folder's settings name classes of its own code."""
    files = [folder / name for name in ("config.json", "tokenizer_config.json")]
    return any("auto_map" in parse_json(read_text(file), str(file)) for file in files if file.is_file())

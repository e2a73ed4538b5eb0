"""The models that come with the package, and are loaded by name."""

from __future__ import annotations

from pathlib import Path

#: A folder for each; written by ``tools/bundle.py``.
MODELS = Path(__file__).parents[1] / "models"
#: What a :class:`consistency_tta.TextToAudioPipeline` is known by, and what a ``transformers`` model is.
PIPELINE, TRANSFORMERS = "model_index.json", "config.json"


def bundled_models(kind: str = PIPELINE) -> list[str]:
    """Names of the bundled models.

    Args:
        kind: the file that marks such a model, :data:`PIPELINE` or :data:`TRANSFORMERS`.
    """
    return sorted(file.parent.name for file in MODELS.glob(f"*/{kind}"))


def resolve(name: str | Path, kind: str = PIPELINE) -> str:
    """The folder of a bundled model, or the name itself if it is a path that exists or nothing is bundled under it.

    So a folder in the current directory comes before a bundled model of its name: what can be seen wins.
    """
    if Path(name).exists() or str(name) not in bundled_models(kind):
        return str(name)
    return str(MODELS / name)


def offer(kind: str = PIPELINE) -> str:
    """What is bundled, for messages about a name that is not."""
    return f"bundled with this installation: {', '.join(bundled_models(kind)) or 'none'}"

"""ConsistencyTTA: text to audio in one network query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consistency_tta.pipeline import TextToAudioPipeline

__all__ = ["TextToAudioPipeline", "__version__"]

__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> Any:
    """Import the pipeline when it is first asked for: torch and diffusers take seconds."""
    if name == "TextToAudioPipeline":
        from consistency_tta.pipeline import TextToAudioPipeline

        return TextToAudioPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

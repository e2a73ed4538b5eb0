"""One prompt, sampled from one model after another, with the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from consistency_tta.app.models import ModelCache, sample
from consistency_tta.generation.sampling_config import SamplingConfig, Sound, expect_at_least
from consistency_tta.pipeline import TextToAudioOutput
from consistency_tta.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class Column:
    """A model and its sounds.

    Attributes:
        heading: such as ``Student``.
        model: model folder, bundled name or hub id.
        steps: queries of a student, solver steps of a teacher; the model's default if None.
        sounds: those of the prompt; None before they are sampled.
        status: what is being done, where there are no sounds yet.
    """

    heading: str
    model: str
    steps: int | None = None
    sounds: TextToAudioOutput | None = None
    status: str = "waiting"


def compare(
    models: ModelCache, columns: Sequence[Column], prompt: str, config: SamplingConfig, num_samples: int
) -> Iterator[list[Column]]:
    """Sample a prompt from the model of each column.

    Sound k starts from the same noise in all columns, that of ``consistency-tta generate`` with this seed, as far as
    the models' latents have the same shape.

    Args:
        models: that are loaded.
        columns: the models; their own ``steps`` replace those of ``config``.
        prompt: a caption.
        config: the settings that all share.
        num_samples: sounds of each model.

    Yields:
        The columns, each time that something of them is new.

    Raises:
        ConfigurationError: the prompt is empty or a setting is out of range.
        ModelFolderError, FileNotFoundError: there is no such model, or it lacks a part.
    """
    if not prompt.strip():
        raise ConfigurationError("expected a prompt, such as 'A dog barks', got an empty one")
    expect_at_least(1, num_samples=num_samples)
    requests = [replace(config, steps=column.steps) for column in columns]
    batch = [Sound("", prompt, (0, number)) for number in range(num_samples)]
    shown = list(columns)
    for index, (column, request) in enumerate(zip(columns, requests, strict=True)):
        shown[index] = replace(column, status="sampling" if column.model in models else "loading and sampling")
        yield list(shown)
        try:
            shown[index] = replace(column, sounds=sample(models.load(column.model), request, batch))
        except Exception:
            shown[index] = replace(column, status="failed")
            yield list(shown)
            raise
        yield list(shown)

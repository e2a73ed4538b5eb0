"""The models that the page has loaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from consistency_tta.generation.sampling_config import SamplingConfig, Sound, generate_batch
from consistency_tta.pipeline import TextToAudioOutput, TextToAudioPipeline
from consistency_tta.pipeline.inference import load_for_generation, prepare_for_generation
from consistency_tta.runtime.errors import ConfigurationError

#: Held while a batch is computed.
_SAMPLING = Lock()


def sample(pipeline: TextToAudioPipeline, request: SamplingConfig, sounds: Sequence[Sound]) -> TextToAudioOutput:
    """Generate sounds as :func:`generate_batch` does, one batch at a time.

    A batch that a user stops is computed to its end in its thread, while the next may begin; a model whose sampler is a
    scheduler of diffusers must not be sampled twice at once.
    """
    with _SAMPLING:
        return generate_batch(pipeline, request, sounds)


class ModelCache:
    """Loads models when they are first needed, and keeps the ones used last.

    Args:
        device: such as cuda or cpu; the best available if None.
        capacity: number of models kept.
    """

    def __init__(self, device: str | None = None, capacity: int = 3) -> None:
        self.device = device
        self.capacity = capacity
        self._models: OrderedDict[str, TextToAudioPipeline] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def load(self, name: str | None) -> TextToAudioPipeline:
        """A model, ready to be sampled.

        Args:
            name: model folder, bundled name or hub id.

        Raises:
            ConfigurationError: no name is given.
            ModelFolderError, FileNotFoundError: there is no such model, or it lacks a part.
        """
        name = (name or "").strip()
        if not name:
            raise ConfigurationError(
                "expected a model folder, such as runs/tiny/audio/model, or a bundled name, got none"
            )
        with self._lock:
            if name not in self._models:
                pipeline = prepare_for_generation(load_for_generation(name, device=self.device))
                pipeline.set_progress_bar_config(disable=True)
                # The first pass allocates memory and chooses kernels: the times that the page shows are without it.
                generate_batch(pipeline, SamplingConfig(steps=1), [Sound("", "warm-up", (0,))])
                self._models[name] = pipeline
            self._models.move_to_end(name)
            while len(self._models) > self.capacity:
                self._models.popitem(last=False)
            return self._models[name]

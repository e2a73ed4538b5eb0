"""The recordings that the prompts of a validation belong to, each embedded once in a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEncoder


class PromptRecordings:
    """The recordings as inputs of metrics, see :mod:`consistency_tta.metrics.inputs`.

    Args:
        waveform: (P, samples), at the rate of the generated sounds.
        encoder: embeds them; None if no metric takes its embeddings.
    """

    def __init__(self, waveform: Tensor, encoder: AudioEncoder | None) -> None:
        self.waveform = waveform
        self.encoder = encoder
        self._vectors: dict[int, Tensor] = {}
        self._logits: dict[int, Tensor] = {}

    def inputs(
        self, needed: set[str], prompts: Sequence[int], sample_rate: int, device: torch.device
    ) -> dict[str, Tensor | None]:
        """Inputs of metrics for B sounds.

        Args:
            needed: names of the inputs of all metrics.
            prompts: positions of the B sounds' recordings.
            sample_rate: of the recordings, in Hz.
            device: of the encoder and of the inputs.
        """
        inputs: dict[str, Tensor | None] = {"recording": self.waveform[list(prompts)].to(device)}
        if needed & {"recording_vectors", "recording_logits"}:
            self._embed(prompts, sample_rate, device)
            for name, stored in (("recording_vectors", self._vectors), ("recording_logits", self._logits)):
                inputs[name] = torch.stack([stored[prompt] for prompt in prompts]) if stored else None
        return inputs

    def _embed(self, prompts: Sequence[int], sample_rate: int, device: torch.device) -> None:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._vectors]
        if new and self.encoder is not None:
            embedding = self.encoder.embed_windows(self.waveform[new].to(device, torch.float32), sample_rate)
            self._vectors |= dict(zip(new, embedding.vectors.mean(1), strict=True))
            if embedding.logits is not None:
                self._logits |= dict(zip(new, embedding.logits, strict=True))

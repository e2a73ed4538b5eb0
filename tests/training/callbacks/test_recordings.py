"""Each recording of a validation is embedded once, for whatever sounds it is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.training.callbacks.recordings import PromptRecordings
from tests.meta_device import META

CPU = torch.device("cpu")
ALL = {"recording", "recording_vectors", "recording_logits"}


class Windows(AudioEncoder):
    """The first three samples and their doubles as two windows, their sum as logits."""

    sample_rate, num_features = 16000, 3

    def __init__(self, classifies: bool = True) -> None:
        super().__init__()
        self.classifies = classifies
        self.embedded: list[tuple[int, int, torch.dtype]] = []

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return self.embed_windows(waveform, sample_rate).vectors.mean(1)

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        self.embedded.append((len(waveform), sample_rate, waveform.dtype))
        vectors = torch.stack([waveform[:, :3], 2 * waveform[:, :3]], dim=1)
        return AudioEmbedding(vectors, vectors.sum(1) if self.classifies else None)


def test_sounds_get_the_recordings_of_their_prompts_each_embedded_once() -> None:
    waveform, encoder = torch.randn(3, 8, dtype=torch.float64), Windows()
    recordings = PromptRecordings(waveform, encoder)
    for prompts, new in (([2, 0, 2], 2), ([0, 1], 1), ([1, 2], 0)):
        seen = len(encoder.embedded)
        inputs = recordings.inputs(ALL, prompts, 8000, CPU)
        assert encoder.embedded[seen:] == [(new, 8000, torch.float32)] * bool(new)
        assert torch.equal(inputs["recording"], waveform[prompts])
        torch.testing.assert_close(inputs["recording_vectors"], 1.5 * waveform[prompts, :3].float())
        torch.testing.assert_close(inputs["recording_logits"], 3 * waveform[prompts, :3].float())


def test_what_the_encoder_does_not_compute_is_none() -> None:
    waveform = torch.randn(2, 8)
    inputs = PromptRecordings(waveform, Windows(classifies=False)).inputs(ALL, [1], 16000, CPU)
    assert inputs["recording_logits"] is None
    assert torch.equal(inputs["recording_vectors"], 1.5 * waveform[1:, :3])
    inputs = PromptRecordings(waveform, None).inputs(ALL, [1], 16000, CPU)
    assert inputs["recording_logits"] is inputs["recording_vectors"] is None


def test_nothing_is_embedded_that_no_metric_takes() -> None:
    encoder = Windows()
    assert list(PromptRecordings(torch.randn(2, 8), encoder).inputs({"recording"}, [0], 16000, CPU)) == ["recording"]
    assert not encoder.embedded


def test_recordings_and_embeddings_are_on_the_encoders_device() -> None:
    inputs = PromptRecordings(torch.randn(2, 8), Windows()).inputs(ALL, [0, 1], 16000, META)
    assert {name: value.device.type for name, value in inputs.items() if value is not None} == dict.fromkeys(
        ALL, "meta"
    )

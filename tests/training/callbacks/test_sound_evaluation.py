"""What metrics of validations are given, of which sounds, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics import Metric

from consistency_tta.contracts import AudioEmbedding, AudioEncoder, Batch
from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.metrics.divergence import SoftmaxDivergence
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.callbacks import sound_evaluation
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling
from consistency_tta.training.callbacks.sound_evaluation import SoundEvaluation
from tests.meta_device import META
from tests.toy_encoder import ToyEncoder

CPU = torch.device("cpu")
CAPTIONS = ["10", "80", "200"]  # which a ToyEncoder reads as angles


class Noise:
    """A pipeline whose sounds are the noise they start from, in stereo and half precision."""

    latent_seconds, codec = 0.5, SimpleNamespace(sample_rate=16000)

    def set_progress_bar_config(self, disable: bool) -> None:
        pass

    def __call__(
        self, captions: list[str], scale: float, steps: int | None, generator: list[torch.Generator], **_: Any
    ) -> Any:
        waveform = torch.stack([torch.randn(2, 6, generator=one) for one in generator])
        return SimpleNamespace(waveform=(scale * waveform).half(), sample_rate=8000)


class Encoder(AudioEncoder):
    """Two windows, and logits, of captions none."""

    sample_rate, num_features = 16000, 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.embedded: list[tuple[int, torch.dtype]] = []

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return self.embed_windows(waveform, sample_rate).vectors.mean(1)

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        self.embedded.append((sample_rate, waveform.dtype))
        return AudioEmbedding(waveform.reshape(len(waveform), 2, 3), self.weight * waveform[:, :2])


class Notes(Metric):
    """Notes what it is given, and computes the number of its updates, and a random number."""

    count: Tensor
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")
        self.weight = nn.Parameter(torch.zeros(()))
        self.given: list[dict[str, Any]] = []
        self.gradients: list[bool] = []

    def note(self, **given: Any) -> None:
        self.given.append(given)
        self.gradients.append(torch.is_grad_enabled())
        self.count += 1

    def compute(self) -> dict[str, Tensor]:
        return {"count": self.count.clone(), "drawn": torch.rand(())}


class All(Notes):
    def update(self, waveform: Tensor, sample_rate: int, captions: list[str], prompts: Tensor, logits: Tensor) -> None:
        self.note(waveform=waveform, rate=sample_rate, captions=captions, prompts=prompts, logits=logits)


class Sets(Notes):
    def update(self, vectors: Tensor, logits: Tensor, real: bool) -> None:
        self.note(vectors=vectors, logits=logits, real=real)


class Text(Notes):
    def update(self, text_vectors: Tensor) -> None:
        self.note(text_vectors=text_vectors)


class Pairs(Notes):
    def update(self, recording: Tensor, recording_logits: Tensor, captions: list[str]) -> None:
        self.note(recording=recording, logits=recording_logits, captions=captions)


class Clips:
    """A loader of four clips in stereo, or of latents."""

    batch_size, dataset = 3, range(4)

    def __init__(self, encoded: bool = False) -> None:
        self.sound = torch.randn(4, 2, 6)
        self.encoded = encoded
        self.collated: list[list[int]] = []

    def collate_fn(self, clips: Sequence[int]) -> Batch:
        self.collated.append(list(clips))
        sound = self.sound[list(clips)]
        given = {"moments": sound} if self.encoded else {"waveform": sound}
        return Batch([str(clip) for clip in clips], ["" for _ in clips], **given)


def run_of(loader: Any = None, device: torch.device = CPU, rank: int = 0, world_size: int = 1) -> Any:
    strategy = SimpleNamespace(root_device=device)
    return SimpleNamespace(strategy=strategy, global_rank=rank, world_size=world_size, val_dataloaders=loader)


def evaluation(
    metrics: dict[str, Any],
    captions: Any = CAPTIONS,
    encoder: Any = None,
    reference: str | None = None,
    **sampling: Any,
) -> SoundEvaluation:
    return SoundEvaluation(metrics, captions, encoder, reference, PromptSampling(**sampling))


PIPELINE: Any = Noise()


def test_metrics_get_all_sounds_of_a_process_with_captions_and_embeddings() -> None:
    metric, encoder, seen = All(), Encoder(), []
    made = evaluation({"all": metric}, encoder=encoder, num_samples=2, batch_size=4, seed=5)
    for rank, world_size in ((0, 1), (1, 2)):
        metric.given.clear()
        seen.clear()
        values = made.compute(
            run_of(rank=rank, world_size=world_size), PIPELINE, also=lambda *given: seen.append(given)
        )
        expected = list(FixedPrompts(CAPTIONS, made.sampling).sounds(PIPELINE, rank, world_size))
        assert float(values["all/count"]) == len(expected)
        for given, sounds, (waveform, passed) in zip(metric.given, expected, seen, strict=True):
            assert torch.equal(given["waveform"], sounds.waveform)
            assert torch.equal(given["logits"], sounds.waveform[:, :2].float())
            assert (given["rate"], given["captions"]) == (8000, sounds.captions)
            assert torch.equal(given["prompts"], sounds.prompts)
            assert torch.equal(waveform, passed.waveform)
            assert passed.captions == sounds.captions
    assert set(encoder.embedded) == {(8000, torch.float32)}


def test_numbers_are_drawn_from_the_seed_and_no_gradients_are_kept() -> None:
    metric, encoder = All(), Encoder()
    made, state = evaluation({"all": metric}, encoder=encoder, seed=5), torch.get_rng_state()
    first, again = made.compute(run_of(), PIPELINE), made.compute(run_of(), PIPELINE)
    other = made.compute(run_of(), PIPELINE, PromptSampling(guidance_scale=1.0, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again  # the number of updates, too: they are forgotten in between
    assert other["all/drawn"] != first["all/drawn"]
    assert not torch.equal(metric.given[2]["waveform"], metric.given[0]["waveform"])
    assert not any(metric.gradients)
    assert not any(parameter.requires_grad for parameter in (*metric.parameters(), *encoder.parameters()))
    assert not encoder.training


def test_captions_are_embedded_where_a_metric_takes_them() -> None:
    encoder, metric = ToyEncoder(), Text()
    evaluation({"clap": CLAPScore(ToyEncoder())}, encoder=encoder).compute(run_of(), PIPELINE)
    assert not encoder.embedded_captions
    evaluation({"text": metric}, encoder=encoder).compute(run_of(), PIPELINE)
    assert torch.equal(metric.given[0]["text_vectors"], encoder.embed_text(CAPTIONS))
    with pytest.raises(ConfigurationError, match="text_vectors"):
        evaluation({"text": metric}, encoder=Encoder()).compute(run_of(), PIPELINE)


@pytest.mark.parametrize(("captions", "samples", "enough"), [(1, 2, True), (2, 1, True), (1, 1, False)])
def test_each_process_needs_a_sound(captions: int, samples: int, enough: bool) -> None:
    made = evaluation({"all": All()}, CAPTIONS[:captions], Encoder(), num_samples=samples)
    if enough:
        made.compute(run_of(world_size=2), PIPELINE)
    else:
        with pytest.raises(ConfigurationError, match=f"{captions} captions x {samples}"):
            made.compute(run_of(world_size=2), PIPELINE)


@pytest.mark.parametrize("several", [False, True])
def test_the_validation_sets_first_captions_and_recordings_are_read_once(several: bool) -> None:
    metric, encoder, loader = Pairs(), Encoder(), Clips()
    made = evaluation({"pairs": metric}, 3, encoder, batch_size=2)
    for _ in range(2):
        made.compute(run_of([loader, None] if several else loader), PIPELINE)
    assert loader.collated == [[0, 1, 2]]
    assert len(encoder.embedded) == 2 * 2 + 2  # all sounds at both, and the recordings of two batches once
    real = loader.sound.mean(1)
    for given, clips in zip(metric.given, [[0, 1], [2]] * 2, strict=True):
        assert torch.equal(given["recording"], real[clips])
        assert torch.equal(given["logits"], real[clips, :2])
        assert given["captions"] == [str(clip) for clip in clips]


def test_there_may_be_fewer_clips_than_captions_are_asked_for_and_latents_have_no_pairs() -> None:
    encoded = Clips(encoded=True)
    made = evaluation({"all": All()}, 9, Encoder())
    made.compute(run_of(encoded), PIPELINE)
    assert made.captions == ["0", "1", "2", "3"]
    with pytest.raises(ConfigurationError, match="lsd"):
        evaluation({"lsd": LogSpectralDistance(16000)}, 2).compute(run_of(encoded), PIPELINE)


def test_the_reference_is_embedded_once_for_metrics_that_take_it() -> None:
    sets, sounds, loader, encoder = Sets(), All(), Clips(), Encoder()
    made = evaluation({"sets": sets, "sounds": sounds}, CAPTIONS, encoder, "validation", batch_size=2)
    for _ in range(2):
        made.compute(run_of(loader), PIPELINE)
    assert loader.collated == [[0, 1, 2], [3]]
    assert [given["real"] for given in sets.given] == [False, False, True, True] * 2
    assert len(sounds.given) == 4
    real = loader.sound.mean(1)
    for given, clips in zip(sets.given[2:4], ([0, 1, 2], [3]), strict=True):
        assert torch.equal(given["vectors"], real[clips].reshape(-1, 3))
        assert torch.equal(given["logits"], real[clips, :2])


def test_a_share_of_the_reference_belongs_to_each_process(tmp_path: Path) -> None:
    vectors = torch.randn(5, 3)
    save_file({"vectors": vectors, "logits": torch.randn(5, 2)}, tmp_path / "real.safetensors")
    for reference, loader in (("validation", Clips()), (str(tmp_path / "real.safetensors"), None)):
        sets = Sets()
        made = evaluation({"sets": sets}, CAPTIONS, Encoder(), reference, batch_size=1)
        made.compute(run_of(loader, rank=1, world_size=2), PIPELINE)
        real = torch.cat([given["vectors"] for given in sets.given if given["real"]])
        expected = vectors if loader is None else loader.sound.mean(1).reshape(4, 2, 3)
        assert torch.equal(real, expected[1::2].reshape(-1, 3))


def test_sounds_and_inputs_are_on_the_device_and_metrics_where_it_has_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_evaluation, "exact_device", lambda device: device)
    encoder, metric, sets = Encoder(), All(), Sets()
    seen: list[Tensor] = []
    metrics = {"all": metric, "sets": sets}
    made = evaluation(metrics, CAPTIONS, encoder, "validation")
    made._update_all(run_of(Clips(), META), PIPELINE, made.sampling, lambda waveform, _: seen.append(waveform))
    assert seen[0].is_meta
    assert encoder.weight.is_meta
    given = [value for notes in (metric, sets) for one in notes.given for value in one.values()]
    assert all(value.is_meta for value in given if isinstance(value, Tensor))
    assert metric.count.is_meta
    monkeypatch.setattr(sound_evaluation, "exact_device", lambda device: META)  # as of Apple's GPUs the CPU
    encoder, metric = Encoder(), All()
    made = evaluation({"all": metric}, CAPTIONS, encoder)
    made._update_all(run_of(), PIPELINE, made.sampling, None)
    assert not encoder.weight.is_meta
    assert metric.count.is_meta
    assert all(value.is_meta for value in metric.given[0].values() if isinstance(value, Tensor))


class RealPairs(Notes):
    def update(self, vectors: Tensor, prompts: Tensor, real: bool) -> None:
        self.note(vectors=vectors, prompts=prompts, real=real)


@pytest.mark.parametrize(
    ("metric", "captions", "encoder", "reference", "accepted"),
    [
        (All, CAPTIONS, Encoder, None, True),
        (All, CAPTIONS, None, None, False),
        (lambda: CLAPScore(ToyEncoder()), CAPTIONS, None, None, True),
        (lambda: LogSpectralDistance(16000), 2, None, None, True),
        (lambda: LogSpectralDistance(16000), CAPTIONS, None, None, False),
        (lambda: CLAPAudioScore(ToyEncoder()), "captions.txt", None, None, False),
        (SoftmaxDivergence, 2, Encoder, None, True),
        (SoftmaxDivergence, 2, None, None, False),
        (lambda: FrechetDistance(3), CAPTIONS, Encoder, "validation", True),
        (lambda: FrechetDistance(3), CAPTIONS, Encoder, None, False),
        (Sets, CAPTIONS, Encoder, "real", True),
        (RealPairs, CAPTIONS, Encoder, "real", False),
        (All, CAPTIONS, Encoder, "real", True),
    ],
)
def test_a_metric_without_the_option_that_it_needs_is_named(
    metric: Any, captions: Any, encoder: Any, reference: str | None, accepted: bool
) -> None:
    if accepted:
        assert evaluation({"one": metric()}, captions, encoder and encoder(), reference).captions == captions
    else:
        with pytest.raises(ConfigurationError, match="'one'"):
            evaluation({"one": metric()}, captions, encoder and encoder(), reference)

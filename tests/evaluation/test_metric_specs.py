"""Metrics by name: what equal sounds get, and that they are those of :mod:`consistency_tta.metrics`."""

from __future__ import annotations

import warnings

import pytest
import torch

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation import metric_functions
from consistency_tta.evaluation.clip_embeddings import Collection, Material, UndefinedMetric, collect
from consistency_tta.evaluation.metric_functions import clap_score, distance, frechet, similarity
from consistency_tta.evaluation.metric_specs import METRICS, Kind, try_options
from consistency_tta.metrics.divergence import SoftmaxDivergence
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.runtime.errors import ConfigurationError

CLIPS, WIDTH = 12, 5


def random_embedding(clips: int = CLIPS, width: int = WIDTH) -> AudioEmbedding:
    return AudioEmbedding(torch.randn(clips, 2, width), torch.randn(clips, 7))


def material(generated: AudioEmbedding, reference: AudioEmbedding) -> Material:
    text = torch.nn.functional.normalize(torch.randn(len(generated.vectors), generated.vectors.shape[2]))
    return Material(generated, reference, text, torch.arange(len(text)) // 2)


def collection(generated: AudioEmbedding, reference: AudioEmbedding) -> Collection:
    return collect(material(generated, reference))


def test_equal_sounds() -> None:
    one = random_embedding()
    same = material(one, one)
    assert frechet(collect(same))[""] == pytest.approx(0, abs=1e-6)
    assert distance(same).abs().max() == 0
    torch.testing.assert_close(similarity(same), torch.ones(CLIPS).double())


def test_shuffled_sounds_are_one_set_but_other_pairs() -> None:
    one, order = random_embedding(), torch.arange(CLIPS).roll(1)
    other = material(one, AudioEmbedding(one.vectors[order], one.logits))
    assert frechet(collect(other))[""] == pytest.approx(0, abs=1e-6)
    assert distance(other).min() > 0.1
    assert similarity(other).mean() < 0.6


@pytest.mark.filterwarnings("ignore:.*span fewer than")
@pytest.mark.parametrize("width", [5, 24, 40])
def test_frechet_by_vectors_is_frechet_by_covariances(width: int) -> None:
    """Of 24 vectors, in fewer, as many and more dimensions."""
    both = material(random_embedding(width=width), random_embedding(width=width))
    metric = FrechetDistance(width)
    metric.update(both.reference.vectors.flatten(0, 1), real=True)
    metric.update(both.generated.vectors.flatten(0, 1), real=False)
    assert frechet(collect(both))[""] == pytest.approx(float(metric.compute()), rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*span fewer than")
def test_the_frechet_distance_of_one_set_is_not_below_zero() -> None:
    """Nor is it in another order, by vectors or by covariances, where rounding leaves a trace of either sign."""
    for width in range(4, 60, 4):
        sounds = random_embedding(width=width)
        order = torch.randperm(len(sounds.vectors))
        found = frechet(collection(sounds, AudioEmbedding(sounds.vectors[order], None)))[""]
        assert 0 <= found < 1e-6


def test_too_few_clips_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="24 .*40"):
        frechet(collection(random_embedding(width=40), random_embedding(width=40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet(collection(random_embedding(width=4), random_embedding(width=4)))


def test_clap_score_is_the_cosine_with_the_caption() -> None:
    both = material(random_embedding(), random_embedding())
    vector, text = both.generated.vectors[3].mean(0), both.text[3]
    assert float(clap_score(both)[3]) == pytest.approx(float(vector @ text / vector.norm()), rel=1e-5)
    both.text = None
    with pytest.raises(UndefinedMetric):
        clap_score(both)


def test_values_of_clips_have_the_metrics_mean() -> None:
    both = material(random_embedding(), random_embedding())
    values = METRICS["kl_softmax"].function(both)
    metric = SoftmaxDivergence()
    metric.update(both.generated.logits, both.reference.logits)
    assert values.shape == (CLIPS,)
    assert float(values.mean()) == pytest.approx(float(metric.compute()))

    sounds = torch.randn(2, 3, 4000)
    values = METRICS["lsd"].function(*sounds, sample_rate=8000)
    spectral = LogSpectralDistance(8000)
    spectral.update(*sounds)
    assert float(values.mean()) == pytest.approx(float(spectral.compute()))
    assert values.std() > 0


@pytest.mark.filterwarnings("ignore:.*span fewer than", "ignore:subsets of")
@pytest.mark.parametrize(("name", "options"), [("frechet_infinity", {"min_clips": 10, "num_sizes": 4})])
def test_options_reach_the_metric(name: str, options: dict[str, int]) -> None:
    found = METRICS[name].function(collection(random_embedding(), random_embedding()), **options)
    assert set(found) == {"distance", "r_squared"}
    with pytest.raises(UndefinedMetric, match="min_clips"):
        METRICS[name].function(collection(random_embedding(), random_embedding()))


@pytest.mark.parametrize("options", [{}, {"bandwidth": 2.0, "scale": 3.0}])
@pytest.mark.parametrize("block", [metric_functions.BLOCK, 1])
def test_kernel_distances_of_draws_are_looked_up(
    options: dict[str, float], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_functions, "BLOCK", block)  # with 1 no table fits, and all distances are computed anew
    both = collection(random_embedding(), random_embedding())
    values = METRICS["kad"].draw_values(both, **options)
    for clips in (torch.arange(CLIPS), torch.randint(CLIPS, (CLIPS,)), torch.tensor([3, 3, 5])):
        anew = METRICS["kad"].function(both.draw(clips), **options)
        assert values(clips)[""] == pytest.approx(anew[""], rel=1e-9)
    with pytest.raises(ConfigurationError, match="scale"):
        METRICS["kad"].draw_values(both, scale=0)(torch.arange(CLIPS))


def test_one_vector_has_no_kernel_distance() -> None:
    pairs = collect(material(AudioEmbedding(torch.randn(3, 1, WIDTH)), AudioEmbedding(torch.randn(3, 1, WIDTH))))
    with pytest.raises(UndefinedMetric, match="1"):
        METRICS["kad"].draw_values(pairs)(torch.tensor([1]))


def test_equal_recordings_have_no_kernel_distance() -> None:
    alike = collection(random_embedding(), AudioEmbedding(torch.ones(CLIPS, 2, WIDTH)))
    with pytest.raises(UndefinedMetric):
        METRICS["kad"].function(alike)
    with pytest.raises(UndefinedMetric):
        METRICS["kad"].draw_values(alike)(torch.arange(CLIPS))


@pytest.mark.filterwarnings("ignore:.*span fewer than")
@pytest.mark.parametrize("name", ["frechet", "kad", "kid", "neighbours", "inception", "diversity"])
def test_metrics_of_sets_have_finite_values(name: str) -> None:
    options = {"splits": 2} if name == "inception" else {}
    spec = METRICS[name]
    assert spec.kind is Kind.SET
    found = spec.function(collection(random_embedding(), random_embedding()), **options)
    assert torch.tensor(list(found.values())).isfinite().all()
    assert set(spec.neither) <= set(found)


@pytest.mark.parametrize("name", ["kl_softmax", "kl_sigmoid", "inception"])
def test_metrics_of_classes_need_classes(name: str) -> None:
    nameless = AudioEmbedding(torch.randn(CLIPS, 1, WIDTH))
    pairs = (material if METRICS[name].kind is Kind.CLIP else collection)(nameless, nameless)
    with pytest.raises(UndefinedMetric):
        METRICS[name].function(pairs)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_works_without_options(name: str) -> None:
    try_options(name, METRICS[name], {}, 8000, 2000)


def test_diversity_is_of_all_generated_sounds_of_a_caption_beside_that_of_the_recordings() -> None:
    made, recorded, more = random_embedding(), random_embedding(), random_embedding()
    pairs = material(made, recorded)
    pairs.more = (more,)
    found = METRICS["diversity"].function(collect(pairs))
    sounds = torch.stack([made.vectors.mean(1), more.vectors.mean(1)], dim=1).double()  # (CLIPS, 2, WIDTH)
    expected = torch.stack([torch.pdist(sounds[k : k + 2].flatten(0, 1)).mean() for k in range(0, CLIPS, 2)]).mean()
    assert found[""] == pytest.approx(float(expected))
    apart = [torch.dist(*recorded.vectors.mean(1)[k : k + 2].double()) for k in range(0, CLIPS, 2)]
    assert found["reference"] == pytest.approx(float(torch.stack(apart).mean()))
    pairs.prompts = torch.arange(CLIPS)
    assert list(METRICS["diversity"].function(collect(pairs))) == [""]  # no two recordings have one caption
    pairs.prompts[1] = 0  # the value would be of one caption's recordings, the other of all sounds
    assert list(METRICS["diversity"].function(collect(pairs))) == [""]
    pairs.more = ()
    with pytest.warns(UserWarning, match=str(CLIPS - 1)):
        found = METRICS["diversity"].function(collect(pairs))
    assert found["reference"] == pytest.approx(float(apart[0]))

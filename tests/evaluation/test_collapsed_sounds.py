"""All metrics on sets of sounds that are one sound, silent, or fewer than dimensions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation.clip_embeddings import Material, collect, number_captions
from consistency_tta.evaluation.metric_specs import METRICS, Kind
from consistency_tta.evaluation.metric_values import compute_metric
from consistency_tta.evaluation.protocol import BootstrapSettings, MetricSettings

#: Cosines; unbiased estimates and extrapolations of distances; published divergences, of sums with an epsilon (softmax)
#: and of probabilities that do not add up to 1 (sigmoid).
MAY_BE_NEGATIVE = {"similarity", "clap_score", "kad", "kid", "frechet_infinity", "kl_softmax", "kl_sigmoid"}


def different(number: int) -> tuple[Tensor, Tensor]:
    """Unit vectors and logits of different sounds."""
    generator = torch.Generator().manual_seed(number)
    return normalize(torch.randn(number, 8, generator=generator), dim=1), torch.randn(number, 5, generator=generator)


def collapsed(number: int) -> tuple[Tensor, Tensor]:
    vectors, logits = different(number)
    return vectors[:1].expand(number, 8), logits[:1].expand(number, 5)


def silent(number: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(number, 8), torch.full((number, 5), -1e4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", [2, 5, 20])
@pytest.mark.parametrize(
    ("generated", "reference"),
    [(collapsed, different), (different, collapsed), (collapsed, collapsed), (silent, different), (silent, silent)],
)
@pytest.mark.parametrize("metric", [name for name, spec in METRICS.items() if spec.kind is not Kind.SOUND])
def test_values_are_finite_or_left_out(metric: str, generated, reference, number: int) -> None:  # type: ignore[no-untyped-def]
    sides = [AudioEmbedding(vectors[:, None], logits) for vectors, logits in (generated(number), reference(number))]
    captions = [str(clip) for clip in range(number)]
    material = Material(*sides, different(number)[0], number_captions(captions), (sides[0],), captions)
    table = compute_metric(MetricSettings(metric, "network"), collect(material), BootstrapSettings(10, 5, 0.95), 0)
    assert table.values or table.warnings
    for found in table.values:
        ends = [] if found.interval is None else [found.interval.low, found.interval.high]
        assert all(map(math.isfinite, [found.value, *ends]))
        assert found.value >= 0 or metric in MAY_BE_NEGATIVE

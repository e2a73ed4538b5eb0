"""The Fréchet distance against ``frechet_audio_distance``, on whose arithmetic published values rest."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.laion_package import import_extra
from consistency_tta.metrics.frechet import FrechetDistance


@pytest.mark.parametrize("width", [3, 128])
def test_distance_of_full_rank_is_that_of_frechet_audio_distance(width: int) -> None:
    theirs = import_extra("frechet_audio_distance", "this test").FrechetAudioDistance
    package = theirs.__new__(theirs)  # making one would download weights
    sets = [torch.randn(400, width) @ torch.randn(width, width) + shift for shift in (0.0, 0.3)]
    expected = package.calculate_frechet_distance(
        *(value for clips in sets for value in package.calculate_embd_statistics(clips.double().numpy()))
    )
    metric = FrechetDistance(width)
    metric.update(sets[0], real=True)
    metric.update(sets[1], real=False)
    assert expected > 1
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-6)

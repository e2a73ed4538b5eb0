"""Spans of clips."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.crop import check_crop_frames, random_starts, spans
from tests.training.runs import rng


def test_all_places_there_are_and_no_others_are_drawn() -> None:
    drawn = {start for draw in range(50) for start in random_starts(rng(draw), 8, whole=20, length=16)}
    assert drawn == set(range(5))
    assert random_starts(rng(), 3, whole=5, length=16) == [0, 0, 0]


def test_spans_begin_at_each_clips_own_start() -> None:
    clips = torch.arange(10)[None, :, None].expand(3, 10, 2)
    assert spans(clips, [0, 4, 7], 3)[:, :, 1].tolist() == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
    assert spans(clips, [0, 0, 0], 16).shape == (3, 10, 2)  # a clip that is shorter stays whole


@pytest.mark.parametrize("frames", [10, -4])
def test_what_cannot_be_cut_is_said(frames: int) -> None:
    with pytest.raises(ConfigurationError, match=str(frames)):
        check_crop_frames(frames, 4)
    with pytest.raises(ConfigurationError, match="36"):
        check_crop_frames(36, 4, whole=32)
    check_crop_frames(36, 4)

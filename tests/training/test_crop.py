"""Spans of clips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.crop import check_crop_frames, check_crop_lengths, crop_latents, random_starts, spans
from tests.training.runs import rng


def test_all_places_there_are_and_no_others_are_drawn() -> None:
    drawn = {start for draw in range(50) for start in random_starts(rng(draw), 8, whole=20, length=16)}
    assert drawn == set(range(5))
    assert random_starts(rng(), 3, whole=5, length=16) == [0, 0, 0]


def test_spans_begin_at_each_clips_own_start() -> None:
    clips = torch.arange(10)[None, :, None].expand(3, 10, 2)
    assert spans(clips, [0, 4, 7], 3)[:, :, 1].tolist() == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
    assert spans(clips, [0, 0, 0], 16).shape == (3, 10, 2)  # a clip that is shorter stays whole
    with pytest.raises(ValueError):  # noqa: PT011  # of zip
        spans(clips, [0, 4], 3)


@pytest.mark.parametrize("frames", [10, -4])
def test_what_cannot_be_cut_is_said(frames: int) -> None:
    with pytest.raises(ConfigurationError, match=str(frames)):
        check_crop_frames(frames, 4)
    with pytest.raises(ConfigurationError, match=r"32\b.*36"):
        check_crop_frames(36, 4, whole=32)
    for frames_of_a_crop in (0, 36):
        check_crop_frames(frames_of_a_crop, 4)
    check_crop_frames(32, 4, whole=32)
    check_crop_lengths([4, 16], 4, 16)
    check_crop_lengths([1], 1, 16)
    check_crop_lengths([], None, 16)


def test_latents_are_cut_to_one_length_a_step_from_places_of_their_own() -> None:
    frames = torch.arange(16.0)[None, None, :, None].expand(64, 2, 16, 3)
    lengths = []
    for draw in range(30):
        cut = crop_latents(frames, [4, 8, 16], rng(draw))
        lengths.append(cut.shape[2])
        assert cut.shape == (64, 2, lengths[-1], 3)
        starts = cut[:, 0, 0, 0]
        assert torch.equal(cut[:, 1, :, 2], starts[:, None] + torch.arange(lengths[-1]))
        assert len(starts.unique()) > (lengths[-1] < 16)
        assert torch.equal(cut, crop_latents(frames, [4, 8, 16], rng(draw)))
    assert set(lengths) == {4, 8, 16}


def test_two_processes_cut_as_one() -> None:
    frames = torch.randn(8, 2, 16, 3)
    whole = crop_latents(frames, [4, 8], rng())
    for rank in (0, 1):
        own = replace(rng(), rank=rank, world_size=2)
        assert torch.equal(crop_latents(frames[rank::2], [4, 8], own), whole[rank::2])


@pytest.mark.parametrize(("lengths", "multiple"), [([6], 4), ([4, 20], 4), ([0], 4), ([8], None)])
def test_lengths_that_a_network_cannot_take_are_refused(lengths: list[int], multiple: int | None) -> None:
    with pytest.raises(ConfigurationError, match=str(lengths[-1])):
        check_crop_lengths(lengths, multiple, 16)

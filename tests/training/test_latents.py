"""Batches turned into latents and text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.contracts import Batch, TextEmbedding
from consistency_tta.training.latents import text_rows
from tests.training.runs import batch, distillation, in_training, rng


def test_moments_stand_for_the_waveform_they_were_made_of(teacher_folder: Path) -> None:
    module, sounds = distillation(teacher_folder), batch(3)
    codec = module.frozen.codec
    latents = module.latents(sounds, rng())
    moments = codec.mel_to_moments(codec.waveform_to_mel(sounds.waveform)).detach()
    assert torch.equal(module.latents(Batch(sounds.captions, sounds.ids, moments=moments), rng()), latents)
    # A draw from the posterior, not its mean.
    epsilon = rng().normal_like(latents)
    assert torch.equal(latents, codec.moments_to_latent(moments, epsilon))
    assert not torch.equal(latents, codec.moments_to_latent(moments))
    assert not latents.requires_grad


def test_captions_encoded_beforehand_are_used(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    text = TextEmbedding(torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool))
    assert module.embed(Batch(["a dog"], [""], text=text)) is text
    assert module.embed(Batch(["a dog"], [""])).embedding.shape == (1, 6, 16)


def test_rows_of_two_lengths_are_chosen_and_padded() -> None:
    captions = TextEmbedding(torch.randn(3, 2, 4), torch.tensor([[True, True], [True, False], [True, True]]))
    for tokens in (1, 2, 5):
        empty = TextEmbedding(torch.randn(1, tokens, 4), torch.ones(1, tokens, dtype=torch.bool))
        mixed = text_rows(torch.tensor([True, False, True]), captions, empty)
        longest = max(2, tokens)
        assert mixed.embedding.shape == (3, longest, 4)
        assert torch.equal(mixed.embedding[[0, 2], :2], captions.embedding[[0, 2]])
        assert torch.equal(mixed.embedding[1, :tokens], empty.embedding[0])
        assert mixed.mask.sum(1).tolist() == [2, tokens, 2]


@pytest.mark.parametrize(("given", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_latents_are_at_least_float32(
    given: torch.dtype, expected: torch.dtype, teacher_folder: Path, tmp_path: Path
) -> None:
    """As the trainer's precision bf16-true hands over encoded latents."""
    module = in_training(distillation(teacher_folder), tmp_path)
    moments = torch.randn(1, 8, 8, 4).to(given)
    latents = module.latents(Batch(["a"], ["a"], moments=moments), rng())
    assert latents.dtype == expected
    assert torch.equal(latents, module.latents(Batch(["a"], ["a"], moments=moments.to(expected)), rng()))

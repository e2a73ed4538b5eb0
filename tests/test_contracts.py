"""What flows: batches, and outputs that decode once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import (
    Batch,
    Codec,
    Conditioning,
    DistillationOutput,
    Loss,
    TextEmbedding,
    squeeze_mono,
    to_channels,
    to_mono,
)
from consistency_tta.losses import LatentL2Loss, MelL1Loss, MelL2Loss, MultiResolutionSTFTLoss
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError


class CountingDecoder:
    """A decoder by indexing, which counts its calls."""

    sample_rate = 16000

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def latent_to_mel(self, latent: Tensor) -> Tensor:
        self.calls["mel"] += 1
        return latent.mean(1)

    def mel_to_waveform(self, mel: Tensor) -> Tensor:
        self.calls["waveform"] += 1
        return mel.flatten(1).repeat(1, 40)

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        self.calls["back"] += 1
        return waveform[:, None]


class ReferenceLoss(Loss):
    """Asks for everything there is."""

    noise_weighted = False

    def forward(self, out: DistillationOutput) -> Tensor:
        assert out.sample_rate == 16000
        return (out.student_waveform - out.reference_waveform).square().mean(1) + out.target_waveform.mean(1)


def output(waveform: Tensor | None = None) -> tuple[DistillationOutput, CountingDecoder]:
    decoder = CountingDecoder()
    student, target, clean = (torch.randn(2, 3, 8, 4, requires_grad=True) for _ in range(3))
    t = torch.full((2,), 500.0)
    batch = Batch(["a dog", "rain"], ["1", "2"], waveform)
    return DistillationOutput(student, target, clean, t, t - 50, t * 0 + 3, batch, decoder), decoder


@pytest.mark.parametrize(
    ("losses", "calls"),
    [
        ([LatentL2Loss()], {}),
        ([MelL1Loss(), MelL2Loss()], {"mel": 2}),
        ([LatentL2Loss(), MelL1Loss(), MultiResolutionSTFTLoss()], {"mel": 2, "waveform": 2}),
        ([MultiResolutionSTFTLoss(), ReferenceLoss(), ReferenceLoss(), MelL2Loss()], {"mel": 2, "waveform": 2}),
    ],
    ids=["latent", "mels", "sound", "many"],
)
def test_any_number_of_losses_share_one_decode(losses: list[Loss], calls: dict[str, int]) -> None:
    out, decoder = output(torch.zeros(2, 8 * 4 * 40))
    total = torch.stack([loss(out) for loss in losses]).sum()
    assert decoder.calls == calls  # of the student and of the target
    total.backward()
    assert out.student_latent.grad is not None
    assert not out.target_mel.requires_grad
    assert not out.target_waveform.requires_grad


def test_a_batch_without_audio_says_so_when_a_loss_asks() -> None:
    out, _ = output()
    with pytest.raises(DataError):
        ReferenceLoss()(out)


def test_the_first_examples_of_a_batch() -> None:
    text = TextEmbedding(torch.randn(3, 5, 2), torch.ones(3, 5, dtype=torch.bool))
    full = Batch(["a", "b", "c"], ["1", "2", "3"], torch.randn(3, 7), torch.randn(3, 4, 2, 2), text)
    part = full.first(2)
    assert len(part) == 2
    assert (part.captions, part.ids) == (["a", "b"], ["1", "2"])
    assert torch.equal(part.waveform, full.waveform[:2])
    assert torch.equal(part.moments, full.moments[:2])
    assert torch.equal(part.text.embedding, text.embedding[:2])
    assert part.text.mask.shape == (2, 5)
    assert len(full.first(9)) == 3
    bare = Batch(["a"], ["1"]).first(1)
    assert bare.waveform is None
    assert bare.moments is None
    assert bare.text is None


def test_rows_by_position_and_by_mask() -> None:
    text = TextEmbedding(torch.randn(3, 5, 2), torch.rand(3, 5) > 0.5)
    conditioning = Conditioning(text, torch.tensor([1.0, 2.0, 3.0]))
    by_position = conditioning.rows(torch.tensor([2, 0]))
    assert by_position.guidance_scale.tolist() == [3.0, 1.0]
    assert torch.equal(by_position.text.embedding, text.embedding[[2, 0]])
    by_mask = Conditioning(text).rows(torch.tensor([False, True, False]))
    assert by_mask.guidance_scale is None
    assert torch.equal(by_mask.text.mask, text.mask[1:2])


def test_waveforms_of_one_channel_and_of_several() -> None:
    mono, stereo = torch.randn(2, 5), torch.randn(2, 2, 5)
    assert torch.equal(to_channels(mono, 2), torch.stack([mono, mono], dim=1))
    assert to_channels(stereo, 2) is stereo
    assert torch.equal(to_channels(stereo, 1), stereo.mean(1, keepdim=True))
    assert torch.equal(to_channels(stereo, 3)[:, 2], stereo.mean(1))
    assert torch.equal(to_mono(mono), mono)
    assert torch.equal(to_mono(stereo), stereo.mean(1))
    assert torch.equal(squeeze_mono(mono[:, None]), mono)
    assert squeeze_mono(stereo) is stereo
    with pytest.raises(ShapeError, match="5"):
        to_channels(mono[0], 2)


class NoMel(Codec):
    """Latents that are the samples themselves."""

    sample_rate, channels, samples_per_frame = 8000, 1, 1

    def encode(self, waveform: Tensor) -> Tensor:
        return torch.cat([waveform, torch.zeros_like(waveform)], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        return latent

    def latent_shape(self, samples: int) -> tuple[int, ...]:
        return 1, samples


def test_a_codec_without_a_mel_front_end_refuses_losses_of_mels() -> None:
    latent = torch.randn(2, 1, 400)
    out = DistillationOutput(latent, latent, latent, *torch.ones(3, 2), Batch(["a", "b"], ["1", "2"]), NoMel())
    assert torch.equal(out.student_audio, latent)
    with pytest.raises(ConfigurationError, match="NoMel"):
        MelL1Loss()(out)

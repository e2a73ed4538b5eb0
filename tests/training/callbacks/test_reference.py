"""The reference of metrics: whose embeddings there are, in which shares, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding, AudioEncoder, Batch
from consistency_tta.runtime.errors import DataError
from consistency_tta.training.callbacks.reference import (
    check_reference,
    reference_embeddings,
    validation_embeddings,
)
from tests.meta_device import META

CPU = torch.device("cpu")


class Seen(AudioEncoder):
    """Notes what it embeds."""

    sample_rate, num_features, min_samples = 16000, 2, 5

    def __init__(self) -> None:
        super().__init__()
        self.waveforms: list[Tensor] = []
        self.rates: list[int] = []

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return waveform[:, :2]

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        self.waveforms.append(waveform)
        self.rates.append(sample_rate)
        return AudioEmbedding(self.embed(waveform, sample_rate)[:, None])


@pytest.mark.parametrize("windows", [None, 3])
def test_a_files_vectors_and_logits_are_shared_out(windows: int | None, tmp_path: Path) -> None:
    vectors, logits = torch.randn(5, *([windows] if windows else []), 2), torch.randn(5, 4)
    save_file({"vectors": vectors, "logits": logits}, tmp_path / "real.safetensors")
    shares = [list(reference_embeddings(str(tmp_path / "real.safetensors"), Seen(), CPU, rank, 2)) for rank in (0, 1)]
    for rank, share in enumerate(shares):
        found = [torch.cat([getattr(one, name) for one in share]) for name in ("vectors", "logits")]
        assert torch.equal(found[0], vectors[rank::2].reshape(len(share), windows or 1, 2))
        assert torch.equal(found[1], logits[rank::2])
    (first, *_) = reference_embeddings(str(tmp_path / "real.safetensors"), Seen(), META)
    assert first.logits is not None
    assert first.vectors.is_meta
    assert first.logits.is_meta


def test_a_file_may_have_no_logits(tmp_path: Path) -> None:
    save_file({"vectors": torch.randn(2, 2)}, tmp_path / "real.safetensors")
    check_reference(str(tmp_path / "real.safetensors"), Seen())
    found = list(reference_embeddings(str(tmp_path / "real.safetensors"), Seen(), CPU))
    assert [one.logits for one in found] == [None, None]


@pytest.mark.parametrize("shape", [(2,), (3, 5), (2, 3), (2, 2, 3), (1, 2, 2, 2), None], ids=str)
def test_a_file_of_other_vectors_is_refused(shape: tuple[int, ...] | None, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"vectors" if shape else "others": torch.zeros(shape or (3, 2))}, file)
    with pytest.raises(DataError, match=file.name):
        check_reference(str(file), Seen())
    with pytest.raises(DataError, match=file.name):
        list(reference_embeddings(str(file), Seen(), CPU))


def test_a_folders_recordings_are_embedded_each_at_its_own_length_and_rate(tmp_path: Path) -> None:
    sounds = [torch.rand(length) - 0.5 for length in (5, 6, 7)]
    for index, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{index}.wav", sound.numpy(), 16000 + index, subtype="FLOAT")
    check_reference(str(tmp_path), Seen())
    for rank in (0, 1):
        encoder = Seen()
        found = list(reference_embeddings(str(tmp_path), encoder, CPU, rank, 2))
        assert encoder.rates == [16000, 16001, 16002][rank::2]
        assert [one.vectors.shape for one in found] == [(1, 1, 2)] * len(encoder.rates)
        for waveform, sound in zip(encoder.waveforms, sounds[rank::2], strict=True):
            torch.testing.assert_close(waveform, sound[None])
    encoder = Seen()
    list(reference_embeddings(str(tmp_path), encoder, META))
    assert all(waveform.is_meta for waveform in encoder.waveforms)
    longer = Seen()
    longer.min_samples = 6
    with pytest.raises(DataError, match=r"0\.wav"):
        check_reference(str(tmp_path), longer)


class Loader:
    """Of clips, as a DataLoader; notes how many it collates."""

    def __init__(self, clips: Tensor, kind: str, batch_size: int | None) -> None:
        self.dataset, self.kind, self.batch_size = clips, kind, batch_size
        self.collated: list[int] = []

    def collate_fn(self, clips: list[Tensor]) -> Batch:
        self.collated.append(len(clips))
        return Batch([""] * len(clips), [""] * len(clips), **{self.kind: torch.stack(clips)})


def codec() -> Any:
    """Of latents that are waveforms; notes what it decodes."""
    decoded: list[Tensor] = []
    made = SimpleNamespace(sample_rate=8000, decoded=decoded, moments_to_latent=lambda moments: moments[:, :1])
    made.decode = lambda latent: (decoded.append(latent), latent.cos())[1]
    return made


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [[2, 1], [2]]), (None, [[1, 1, 1], [1, 1]])])
@pytest.mark.parametrize("kind", ["waveform", "moments"])
def test_the_validation_set_is_shared_out_and_embedded_in_mono_or_decoded(
    kind: str, batch_size: int | None, sizes: list[list[int]]
) -> None:
    clips = torch.randn(5, 2, 6, dtype=torch.float16)
    heard = clips.float().mean(1) if kind == "waveform" else clips[:, 0].float().cos()
    for rank in (0, 1):
        encoder, decoder, loader = Seen(), codec(), Loader(clips, kind, batch_size)
        found = list(validation_embeddings(loader, decoder, encoder, CPU, rank, 2))
        assert loader.collated == sizes[rank]
        assert set(encoder.rates) == {8000}
        assert {waveform.dtype for waveform in encoder.waveforms + decoder.decoded} == {torch.float32}
        torch.testing.assert_close(torch.cat(encoder.waveforms), heard[rank::2], atol=1e-3, rtol=0)
        torch.testing.assert_close(
            torch.cat([one.vectors[:, 0] for one in found]), heard[rank::2, :2], atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("kind", ["waveform", "moments"])
def test_the_validation_set_is_embedded_on_the_encoders_device(kind: str) -> None:
    encoder, decoder = Seen(), codec()
    found: list[AudioEmbedding] = list(
        validation_embeddings(Loader(torch.randn(2, 2, 6), kind, 2), decoder, encoder, META)
    )
    assert all(one.vectors.is_meta for one in found)
    assert all(tensor.is_meta for tensor in encoder.waveforms + decoder.decoded)

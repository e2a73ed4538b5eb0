"""The networks of a protocol are the ones that it pins."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation import networks
from consistency_tta.evaluation.networks import fingerprint, fingerprint_of, make_network, make_networks
from consistency_tta.evaluation.protocol_file import load_protocol
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.bundled import MODELS
from consistency_tta.storage.checksum import checksum
from tests.evaluation.cases import CHECKSUM, ToyNetwork, write_protocol


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "make_network", lambda name, weights: ToyNetwork())


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize("pinned", [CHECKSUM, None])
def test_the_pinned_network_and_any_if_none_is(pinned: str | None, tmp_path: Path) -> None:
    protocol = load_protocol(write_protocol(tmp_path, networks={"toy": {"sha256": pinned}}))
    assert set(make_networks(protocol, {})) == {"toy"}


@pytest.mark.usefixtures("_toy")
def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    protocol = load_protocol(write_protocol(tmp_path, networks={"toy": {"sha256": "f" * 64, "weights": "toy.pt"}}))
    with pytest.raises(ConfigurationError, match="f" * 64):
        make_networks(protocol, {})


def test_weights_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mn04"):
        make_networks(load_protocol(write_protocol(tmp_path)), {"mn04": "x"})


def test_the_bundled_network_is_the_pinned_one() -> None:
    network = make_network("tiny-clap")
    assert network.checksum == load_protocol("esc50-fold5").networks["tiny-clap"].sha256
    assert network.embed_text(["A dog barks"]).shape == (1, network.num_features)
    assert make_network("tiny-clap", str(MODELS / "tiny-clap")).checksum == network.checksum


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mn04_as_mAP_432\.pt"):
        make_network("mn04", str(tmp_path))


def test_what_a_network_is_known_by(tmp_path: Path) -> None:
    clap = fingerprint(make_network("tiny-clap"))
    assert clap == fingerprint_of("tiny-clap") == fingerprint_of(str(MODELS / "tiny-clap"))
    assert clap.signature
    assert fingerprint_of("a" * 64) == EncoderFingerprint("a" * 64, None)
    assert fingerprint_of(str(MODELS / "tiny-clap" / "model.safetensors")) == clap
    other = tmp_path / "other.pt"
    other.write_bytes(b"weights of something else")
    assert fingerprint_of(str(other)) == EncoderFingerprint(checksum(other))  # known by its file alone
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none")):
        fingerprint_of(str(tmp_path / "none"))


def test_a_network_without_a_text_side_is_known_by_its_checksum_alone() -> None:
    class Loudness(AudioEncoder):
        checksum = CHECKSUM

        def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
            return waveform.square().mean(1, keepdim=True)

    assert fingerprint(Loudness()) == EncoderFingerprint(CHECKSUM, ())

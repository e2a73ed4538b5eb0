"""CLAP: the front end equals the library's; a saved folder loads as a frozen encoder whose weights are invisible."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, ClapProcessor

from consistency_tta.audio.resample import resample
from consistency_tta.components.clap import TinyClap, TransformersClap
from consistency_tta.components.clap_front_end import ClapFrontEnd
from consistency_tta.components.clap_model import Clap
from consistency_tta.components.networks import clap
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError, ShapeError
from consistency_tta.storage.bundled import MODELS

#: A CLAP of a few thousand parameters, which embeds 1 s.
SMALL: dict[str, Any] = {
    "max_seconds": 1,
    "n_mels": 32,
    "hop_length": 160,
    "channels": 8,
    "depths": [1, 1],
    "heads": [1, 2],
    "text_width": 16,
    "text_layers": 1,
    "text_heads": 2,
    "embedding_width": 16,
}
LAION: dict[str, Any] = {}
TINY = {"sampling_rate": 16000, "hop_length": 320, "max_length_s": 5, "frequency_min": 50, "frequency_max": 8000}
ODD = {"feature_size": 24, "sampling_rate": 22050, "hop_length": 300, "max_length_s": 2, "fft_window_size": 800}


def extractor(**settings: Any) -> ClapFeatureExtractor:
    return ClapFeatureExtractor(**({"truncation": "rand_trunc"} | settings))


def waveform(samples: int, rate: int) -> np.ndarray:
    """A loud tone that leaves most bins silent, and then noise."""
    seconds = np.arange(samples) / rate
    sound = 0.9 * np.sin(2 * np.pi * 440 * seconds)
    sound[samples // 2 :] = 0.01 * np.random.default_rng(0).standard_normal(samples - samples // 2)
    return sound.astype(np.float32)


@pytest.mark.parametrize("settings", [LAION, TINY, ODD], ids=["laion", "tiny", "odd"])
@pytest.mark.parametrize("share", [1.0, 0.43, 0.02])
def test_the_front_end_is_that_of_transformers(settings: dict[str, Any], share: float) -> None:
    reference = extractor(**settings)
    sound = waveform(int(share * reference.nb_max_samples), reference.sampling_rate)
    expected = reference(sound, sampling_rate=reference.sampling_rate, return_tensors="pt").input_features
    torch.testing.assert_close(ClapFrontEnd(reference)(torch.from_numpy(sound)[None]), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding", ["repeat", "pad", "repeatpad"])
def test_short_clips_are_lengthened_as_in_transformers(padding: str) -> None:
    reference = extractor(**ODD, padding=padding)
    sound = waveform(int(0.4 * reference.nb_max_samples), reference.sampling_rate)
    expected = reference(sound, sampling_rate=reference.sampling_rate, return_tensors="pt").input_features
    torch.testing.assert_close(ClapFrontEnd(reference)(torch.from_numpy(sound)[None]), expected, atol=1e-4, rtol=0)


def test_a_long_clip_is_cut_at_its_end() -> None:
    front_end = ClapFrontEnd(extractor(**ODD))
    sound = 0.1 * torch.randn(2, front_end.max_samples + 999)
    assert torch.equal(front_end(sound), front_end(sound[:, : front_end.max_samples]))


def test_gradients_reach_the_waveform_and_are_right() -> None:
    front_end = ClapFrontEnd(extractor(**ODD))
    sound = (0.1 * torch.randn(1, 3000)).requires_grad_()
    front_end(sound).mean().backward()
    direction = torch.randn(1, 3000)
    with torch.no_grad():
        ahead, behind = (front_end(sound + sign * 1e-3 * direction).double().mean() for sign in (1, -1))
    slope = float((ahead - behind) / 2e-3)
    assert float((sound.grad * direction).sum()) == pytest.approx(slope, rel=2e-2)
    silent = torch.zeros(1, 3000, requires_grad=True)
    front_end(silent).mean().backward()
    assert silent.grad.isfinite().all()


def test_feature_fusion_and_wrong_shapes_are_named() -> None:
    with pytest.raises(ConfigurationError, match="fusion"):
        ClapFrontEnd(extractor(truncation="fusion"))
    with pytest.raises(ShapeError, match="5,"):
        ClapFrontEnd(extractor())(torch.zeros(5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = clap(**SMALL).eval()
    made.save_pretrained(tmp_path / "clap")
    return tmp_path / "clap"


def test_embeddings_are_those_of_transformers(folder: Path) -> None:
    encoder, model = TransformersClap(folder), ClapModel.from_pretrained(folder).eval()
    captions, sounds = ["a dog barks", "rain"], 0.1 * torch.randn(2, 12000)
    inputs = ClapProcessor.from_pretrained(folder)(
        text=captions, audio=list(sounds.numpy()), sampling_rate=16000, return_tensors="pt", padding=True
    )
    inputs = {key: inputs[key] for key in ("input_ids", "attention_mask", "input_features")}
    with torch.no_grad():
        expected = model(**inputs)
    torch.testing.assert_close(encoder.embed_text(captions), expected.text_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.embed(sounds, 16000), expected.audio_embeds, atol=1e-5, rtol=0)
    assert encoder.sample_rate == 16000
    torch.testing.assert_close(encoder.embed_text(captions).norm(dim=1), torch.ones(2))


def test_it_is_frozen_and_invisible_but_lets_gradients_through(folder: Path) -> None:
    owner = nn.Module()
    owner.encoder = TransformersClap(folder)
    owner.train()
    assert not owner.state_dict()
    assert not list(owner.parameters())
    assert not any(module.training for module in owner.encoder.clap.modules())
    sound = (0.1 * torch.randn(2, 12000)).requires_grad_()
    owner.encoder.embed(sound, 16000)[:, 0].sum().backward()
    assert sound.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in owner.encoder.clap.parameters())
    owner.to("meta")
    assert owner.encoder.clap.model.device.type == "meta"
    assert owner.encoder.clap.front_end.filters.is_meta


def test_long_captions_are_cut_where_the_positions_end() -> None:
    made = clap(**SMALL, max_length=8).eval()
    whole = made.embed_text(["a dog barks and barks"])
    assert torch.equal(whole, made.embed_text(["a dog barks"]))
    assert not torch.allclose(whole, made.embed_text(["a cat meows"]))
    assert made.max_length == 8


def test_what_is_missing_is_said_at_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The hub is not switched off, and yet no server is looked up.
    lookups: list[Any] = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *address, **_: lookups.append(address) or [])
    for name in ("runs/tiny/clap/model", "laion/clap-that-nobody-made"):
        with pytest.raises(FileNotFoundError, match=name):
            TransformersClap(name)
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        TransformersClap(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ModelFolderError, match="bert"):
        TransformersClap(folder)
    assert lookups == []


def test_a_folder_in_half_precision_is_computed_in_float32(folder: Path, tmp_path: Path) -> None:
    made = TransformersClap(folder)
    half = Clap(*made.clap.components.values())
    half.components["model"].half()
    half.save_pretrained(tmp_path / "half")
    assert TransformersClap(tmp_path / "half").clap.model.dtype == torch.float32
    assert len(AutoTokenizer.from_pretrained(tmp_path / "half")) == 259


def test_metrics_get_the_same_vectors_and_the_width_is_that_of_the_model(folder: Path) -> None:
    encoder, sounds = TransformersClap(folder), 0.1 * torch.randn(2, 12000)
    embedding = encoder.embed_windows(sounds, 16000)
    assert embedding.logits is None
    assert embedding.vectors.shape == (2, 1, encoder.num_features)
    torch.testing.assert_close(embedding.vectors[:, 0], encoder.embed(sounds, 16000))
    assert encoder.num_features == SMALL["embedding_width"]


def test_sounds_of_any_rate_are_resampled(folder: Path) -> None:
    encoder, sounds = TransformersClap(folder), 0.1 * torch.randn(2, 36000)
    resampled = resample(sounds, 48000, 16000)
    assert torch.equal(encoder.embed(sounds, 48000), encoder.embed(resampled, 16000))
    for ours, theirs in zip(
        encoder.layer_features(sounds, 48000), encoder.layer_features(resampled, 16000), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_folder_in_several_files_has_one_checksum(folder: Path, tmp_path: Path) -> None:
    several = tmp_path / "several"
    ClapModel.from_pretrained(folder).save_pretrained(several, max_shard_size="20KB")
    for file in ("preprocessor_config.json", "tokenizer_config.json"):
        (several / file).write_bytes((folder / file).read_bytes())
    weights = sorted(several.glob("model-*.safetensors"))
    assert len(weights) > 1
    expected = hashlib.sha256(b"".join(file.read_bytes() for file in weights)).hexdigest()
    assert TransformersClap(several).checksum == expected


def test_the_bundled_clap_is_an_encoder_of_its_own_name() -> None:
    encoder = TinyClap()
    assert (encoder.name, encoder.sample_rate, encoder.num_features) == ("tiny-clap", 16000, 128)
    assert encoder.checksum == hashlib.sha256((MODELS / "tiny-clap" / "model.safetensors").read_bytes()).hexdigest()


def test_a_bundled_clap_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clap(**SMALL).save_pretrained(tmp_path / "tiny-clap")
    monkeypatch.setattr("consistency_tta.storage.bundled.MODELS", tmp_path)
    assert TransformersClap("tiny-clap").sample_rate == 16000

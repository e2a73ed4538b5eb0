"""Checkpoints of laion_clap as a ``transformers.ClapModel``; ``tests/laion`` compares numbers with the package."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.clap_model import load_laion
from consistency_tta.components.laion import LaionClap
from consistency_tta.components.laion_checkpoint import read_laion
from consistency_tta.components.laion_model import clap_model
from consistency_tta.components.laion_tokenizer import laion_tokenizer
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError, MissingExtraError
from tests.laion_files import byte_tokenizer, laion_shapes, laion_tensors

AUDIO: dict[str, Any] = {"width": 8, "depths": [1, 2], "heads": [1, 2]}
TEXT: dict[str, Any] = {"width": 64, "layers": 2, "inner": 32, "vocabulary": 261, "positions": 90}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return laion_tensors(laion_shapes(AUDIO, TEXT))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    assert byte_tokenizer(tmp_path / "tokenizer") == TEXT["vocabulary"]
    return tmp_path / "tokenizer"


@pytest.fixture
def checkpoint(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    """As training leaves it: distributed, with an optimizer's state, and with best scores in numpy's numbers."""
    state = {f"module.{name}": tensor for name, tensor in tensors.items()}
    beside = {
        "epoch": 15,
        "name": "x",
        "top": [np.float64(0.9), np.float32(0.1), np.int64(3)],
        "optimizer": {"state": {}},
    }
    torch.save(beside | {"state_dict": state}, tmp_path / "clap.pt")
    return tmp_path / "clap.pt"


def test_every_tensor_finds_its_place(tensors: dict[str, Tensor]) -> None:
    model = clap_model(tensors, "a file")
    audio, text = model.audio_model.audio_encoder, model.text_model
    block = audio.layers[1].blocks[1]
    qkv = tensors["audio_branch.layers.1.blocks.1.attn.qkv.weight"]
    for part, expected in zip(("query", "key", "value"), qkv.split(16), strict=True):
        assert torch.equal(getattr(block.attention.self, part).weight, expected)
    assert torch.equal(block.attention.output.dense.bias, tensors["audio_branch.layers.1.blocks.1.attn.proj.bias"])
    assert torch.equal(block.intermediate.dense.weight, tensors["audio_branch.layers.1.blocks.1.mlp.fc1.weight"])
    assert torch.equal(block.output.dense.weight, tensors["audio_branch.layers.1.blocks.1.mlp.fc2.weight"])
    assert torch.equal(block.layernorm_after.bias, tensors["audio_branch.layers.1.blocks.1.norm2.bias"])
    assert torch.equal(audio.batch_norm.running_var, tensors["audio_branch.bn0.running_var"])
    assert torch.equal(
        text.encoder.layer[1].attention.output.dense.weight,
        tensors["text_branch.encoder.layer.1.attention.output.dense.weight"],
    )
    assert torch.equal(model.text_projection.linear2.weight, tensors["text_projection.2.weight"])
    assert torch.equal(model.audio_projection.linear1.weight, tensors["audio_projection.0.weight"])
    assert text.embeddings.LayerNorm.eps == 1e-5
    assert torch.equal(text.embeddings.position_ids, torch.arange(90)[None])
    assert not model.training


def test_a_file_becomes_an_encoder_and_a_folder(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    load_laion(checkpoint, tokenizer).save_pretrained(tmp_path / "folder")
    of_file, of_folder = TransformersClap(checkpoint, tokenizer), TransformersClap(tmp_path / "folder")
    sounds, captions = 0.1 * torch.randn(2, 48000), ["a dog barks", "rain"]
    assert torch.equal(of_file.embed(sounds, 48000), of_folder.embed(sounds, 48000))
    assert torch.equal(of_file.embed_text(captions), of_folder.embed_text(captions))
    assert of_file.embed_text(captions).shape == (2, 512)
    assert not torch.allclose(*of_file.embed_text(captions), atol=1e-3)
    assert of_file.sample_rate == 48000
    assert of_file.clap.front_end.max_samples == 480_000


def test_numbers_of_numpy_1_are_read(tensors: dict[str, Tensor], checkpoint: Path, tmp_path: Path) -> None:
    """Published files have best scores under a name that numpy 2 has moved."""
    with zipfile.ZipFile(checkpoint) as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            content = re.sub(rb"cnumpy\._?core\.", b"cnumpy.core.", new.read(name))
            assert not name.endswith("data.pkl") or b"cnumpy.core.multiarray\nscalar" in content
            old.writestr(name, content)
    read = read_laion(tmp_path / "old.pt")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_captions_are_cut_where_laion_clap_cuts_them(checkpoint: Path, tokenizer: Path) -> None:
    encoder = TransformersClap(checkpoint, tokenizer)
    whole, cut, shorter = encoder.embed_text([75 * "a" + "b", 75 * "a", 74 * "a"])  # and two tokens around them
    torch.testing.assert_close(whole, cut, atol=1e-6, rtol=0)
    assert not torch.allclose(cut, shorter, atol=1e-5)


def test_the_tokenizer_may_be_one_that_was_fetched(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--roberta-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots").mkdir()
    tokenizer.rename(repository / "snapshots" / "abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert len(laion_tokenizer("roberta-base", 261)) == 261
    with pytest.raises(ConfigurationError, match="50265"):
        laion_tokenizer("roberta-base", 50265)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("text_projection.2.bias"), r"text_projection\.2\.bias"),
        (lambda t: t.pop("audio_branch.layers.1.blocks.0.attn.qkv.bias"), r"audio_branch\.layers\.1.*qkv\.bias"),
        (lambda t: t.update(odd=torch.zeros(1)), "odd"),
        (
            lambda t: t.update({"audio_branch.norm.bias": torch.zeros(3)}),
            r"audio_branch\.norm\.bias",
        ),
        (lambda t: t["audio_branch.logmel_extractor.melW"].mul_(2), r"changed\.pt"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Any, named: str, tensors: dict[str, Tensor], tokenizer: Path, tmp_path: Path
) -> None:
    change(tensors)
    torch.save(tensors, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=named):
        TransformersClap(tmp_path / "changed.pt", tokenizer)


class Foreign:
    """Something that only code of its author could rebuild."""


def test_files_that_are_none_of_it_are_refused(tensors: dict[str, Tensor], checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        read_laion(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        TransformersClap("none.pt")
    with pytest.raises(FileNotFoundError, match="none"):
        TransformersClap(checkpoint, "none")
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        read_laion(tmp_path / "cut.pt")
    torch.save({"state_dict": tensors, "args": Foreign()}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match=r"code\.pt"):
        read_laion(tmp_path / "code.pt")
    torch.save({"audio_branch.conv_block1.conv1.weight": torch.zeros(1)}, tmp_path / "pann.pt")
    with pytest.raises(CheckpointError, match=r"pann\.pt"):
        read_laion(tmp_path / "pann.pt")
    torch.save({"audio_branch.patch_embed.mel_conv2d.weight": torch.zeros(1)}, tmp_path / "fused.pt")
    with pytest.raises(CheckpointError, match=r"fused\.pt"):
        read_laion(tmp_path / "fused.pt")


def test_laion_clap_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laion_clap", None)
    with pytest.raises(MissingExtraError):
        LaionClap("none.pt")

"""Text encoders: padding changes nothing, the empty prompt works, a model folder keeps them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast, T5Tokenizer

from consistency_tta.components.text import ByteTextEncoder, PretrainedTextEncoder, TextEncoder
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from tests.toys import TEXT


def encoder() -> ByteTextEncoder:
    return ByteTextEncoder(**TEXT).eval()


def test_padding_changes_no_embedding() -> None:
    text = encoder()
    captions = ["", "a dog", "a dog barks at a passing train"]
    together = text(captions)
    assert together.embedding.shape == (3, 31, 16)
    assert together.mask.dtype == torch.bool
    assert together.mask.sum(1).tolist() == [1, 6, 31]  # bytes and the end
    for row, caption in enumerate(captions):
        alone = text([caption])
        assert alone.mask.all()
        torch.testing.assert_close(together.embedding[row, : alone.mask.shape[1]], alone.embedding[0])


def test_captions_are_told_apart_and_gradients_reach_the_encoder() -> None:
    text = encoder()
    first, second = text(["a dog", "a cat"]).embedding
    assert not torch.allclose(first, second, atol=1e-3)
    first.sum().backward()
    assert all(parameter.grad is not None for parameter in text.parameters())


def test_captions_are_cut_at_max_length() -> None:
    text = ByteTextEncoder(**TEXT, max_length=8)
    assert text(["x" * 50]).mask.shape == (1, 8)


def test_a_model_folder_keeps_encoder_and_length(tmp_path: Path) -> None:
    text = ByteTextEncoder(**TEXT, max_length=8).eval()
    captions = ["a dög", "a very long caption"]
    TextToAudioPipeline(text_encoder=text.encoder, tokenizer=text.tokenizer).save_pretrained(tmp_path)
    loaded = TextToAudioPipeline.from_pretrained(tmp_path).text
    assert torch.equal(loaded(captions).embedding, text(captions).embedding)
    assert loaded.max_length == 8


def bert(folder: Path, **limit: int) -> str:
    """A folder of a small BERT, as a hub has them."""
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks"]))
    BertTokenizerFast(vocab=str(vocabulary), **limit).save_pretrained(folder)
    config = BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(folder)
    return str(folder)


def test_any_hugging_face_encoder_loads_by_folder(tmp_path: Path) -> None:
    text = PretrainedTextEncoder(bert(tmp_path, model_max_length=16)).eval()
    out = text(["a dog barks", "a"])
    assert out.embedding.shape == (2, 5, 16)
    assert out.mask.sum(1).tolist() == [5, 3]
    assert text.max_length == 16


def test_an_encoder_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="some/encoder"):
        PretrainedTextEncoder("some/encoder")
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        PretrainedTextEncoder(str(tmp_path))


def test_a_hub_out_of_reach_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, waited = [], []

    def unknown(*address: object, **_: object) -> None:
        asked.append(address)
        raise socket.gaierror("no such name")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(FileNotFoundError, match="some/encoder"):
        PretrainedTextEncoder("some/encoder")
    assert asked
    assert not waited


@pytest.mark.parametrize(
    ("limit", "max_length", "expected"), [({"model_max_length": 16}, 8, 8), ({}, 8, 8), ({}, 600, 600)]
)
def test_a_model_folder_cuts_captions_where_training_did(
    limit: dict[str, int], max_length: int, expected: int, tmp_path: Path
) -> None:
    text = PretrainedTextEncoder(bert(tmp_path, **limit), max_length=max_length)
    TextToAudioPipeline(text_encoder=text.encoder, tokenizer=text.tokenizer).save_pretrained(tmp_path / "model")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "model").text
    captions = ["a dog barks " * 50]  # 152 tokens with the two at the ends
    assert text(captions).mask.shape == loaded(captions).mask.shape == (1, min(expected, 152))
    assert loaded.max_length == text.max_length == expected


def test_a_tokenizer_without_limit_cuts_at_512(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert(tmp_path))
    assert TextEncoder(tokenizer, encoder().encoder).max_length == 512


def test_a_tokenizer_without_vocabulary_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="T5Tokenizer"):
        TextEncoder(T5Tokenizer(), encoder().encoder)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigurationError, match="num_heads=3"):
        ByteTextEncoder(width=16, num_heads=3)

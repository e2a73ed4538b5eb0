"""``tokenizer.json`` gives the numbers of the model's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from consistency_tta.graphs.tokenizer import SAMPLES, write_tokenizer
from consistency_tta.runtime.errors import ModelFolderError


def test_bytes(tmp_path: Path) -> None:
    tokenizer = ByT5Tokenizer(extra_ids=0, model_max_length=24)
    fast = Tokenizer.from_file(str(write_tokenizer(tokenizer, tmp_path)))
    assert fast.encode("añ").ids == [97 + 3, 0xC3 + 3, 0xB1 + 3, 1]
    captions = [*SAMPLES, "x" * 40]
    expected = tokenizer(captions, padding=True, truncation=True)
    got = fast.encode_batch(captions)
    assert [one.ids for one in got] == expected.input_ids
    assert [one.attention_mask for one in got] == expected.attention_mask
    assert {len(one.ids) for one in got} == {24}


def test_a_tokenizer_without_a_file_is_refused(tmp_path: Path) -> None:
    class Spoken(PreTrainedTokenizerBase):
        pass

    with pytest.raises(ModelFolderError, match="Spoken"):
        write_tokenizer(Spoken(), tmp_path)

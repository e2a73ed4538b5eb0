"""The tokenizer as one file, ``tokenizer.json``, for the package ``tokenizers`` and its JavaScript twin."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from consistency_tta.runtime.errors import ModelFolderError

#: Two scripts, signs, an emoji, line ends, and doubled and outer spaces.
SAMPLES = (
    "A dog barks",
    "",
    " two  spaces ",
    "Rain, wind & thunder (loud)!",
    "Ein Bär brüllt 🐻",
    "雨が降る\n",
    "a</s>b",
)


def fast_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A tokenizer of the package ``tokenizers`` that gives the same numbers.

    Raises:
        ModelFolderError: if there is none.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    fast = of_bytes(tokenizer) if isinstance(tokenizer, ByT5Tokenizer) else backend
    if not isinstance(fast, Tokenizer):
        raise ModelFolderError(
            f"expected a tokenizer with a tokenizer.json, or a ByT5Tokenizer, got {type(tokenizer).__name__}: save the "
            "folder with the fast tokenizer of the same name"
        )
    fast.enable_truncation(tokenizer.model_max_length)
    fast.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=str(tokenizer.pad_token))
    for text in SAMPLES:
        if (got := fast.encode(text).ids) != (wanted := tokenizer(text, truncation=True).input_ids):
            raise ModelFolderError(f"expected the tokens {wanted} of {text!r} from tokenizer.json, got {got}")
    return fast


def of_bytes(tokenizer: ByT5Tokenizer) -> Tokenizer:
    """ByT5's tokenizer: each byte is a token, its number that of the byte behind the special tokens.

    Source: Xue et al., "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models", 2022,
    https://arxiv.org/abs/2105.13626, section 3.
    """
    special = {str(token): number for number, token in enumerate(("<pad>", "</s>", "<unk>"))}
    letters = {letter: byte + len(special) for byte, letter in bytes_to_unicode().items()}
    fast = Tokenizer(models.BPE(vocab=special | letters, merges=[], unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.decoder = decoders.ByteLevel()
    fast.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", special["</s>"])])
    fast.add_special_tokens([AddedToken(token, lstrip=True, rstrip=True, special=True) for token in special])
    return fast


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Write ``tokenizer.json``, which pads to the longest caption and cuts as the model's tokenizer does."""
    file = folder / "tokenizer.json"
    fast_tokenizer(tokenizer).save(str(file))
    return file

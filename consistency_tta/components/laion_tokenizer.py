"""RoBERTa's tokenizer, which checkpoints of ``laion_clap`` lack, and files that were fetched from the hub."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from consistency_tta.components.without_code import load_without_code
from consistency_tta.runtime.errors import ConfigurationError

#: Tokens of a caption that these models were trained with; laion_clap cuts what is longer.
MAX_TOKENS = 77


def laion_tokenizer(name: str | Path, vocabulary: int) -> PreTrainedTokenizerBase:
    """RoBERTa's tokenizer, set to cut captions as ``laion_clap`` does.

    Args:
        name: folder, or id of a model of the hub that has been fetched.
        vocabulary: number of tokens that the text network knows.

    Raises:
        FileNotFoundError: if it is not there.
        ConfigurationError: if it has another number of tokens.
    """
    folder = fetched(str(name), "tokenizer.json")
    if not (folder / "tokenizer.json").exists():
        raise FileNotFoundError(
            f"expected RoBERTa's tokenizer, but {name} is neither a folder with a tokenizer.json nor a fetched model "
            "of the hub: fetch it with `hf download roberta-base --include '*.json'`, or name a folder that has it"
        )
    tokenizer = load_without_code(AutoTokenizer.from_pretrained, folder)
    if len(tokenizer) != vocabulary:
        raise ConfigurationError(
            f"expected a tokenizer of {vocabulary} tokens, as the text network has, got {len(tokenizer)} in {name}"
        )
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def fetched(name: str, file: str) -> Path:
    """The folder of this name, or where a hub id's files were put when they were fetched, if ``file`` is among them."""
    folder = Path(name)
    if not folder.exists() and name.count("/") <= 1:
        with suppress(HFValidationError):
            cached = try_to_load_from_cache(name, file)
            folder = Path(cached).parent if isinstance(cached, str) else folder
    return folder

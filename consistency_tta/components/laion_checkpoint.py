"""Checkpoints of the package ``laion_clap``, such as the ConsistencyTTA paper's, and the same networks in transformers.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023, https://arxiv.org/abs/2211.06687; files at https://huggingface.co/lukewys/laion_clap.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import Tensor
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerBase

from consistency_tta.runtime.errors import CheckpointError, ConfigurationError
from consistency_tta.storage.published_weights import numpy_globals

#: Tokens of a caption that these models were trained with; laion_clap cuts what is longer.
MAX_TOKENS = 77
FETCH = "`hf download lukewys/laion_clap music_audioset_epoch_15_esc_90.14.pt --local-dir .`"

#: What laion_clap calls the parts of ``transformers.ClapModel``, in this order.
AUDIO_NAMES = {
    "audio_model.audio_encoder.batch_norm.": "audio_branch.bn0.",
    "audio_model.audio_encoder.": "audio_branch.",
    ".layernorm_before.": ".norm1.",
    ".layernorm_after.": ".norm2.",
    ".attention.self.query.": ".attn.qkv.",
    ".attention.self.key.": ".attn.qkv.",
    ".attention.self.value.": ".attn.qkv.",
    ".attention.self.": ".attn.",
    ".attention.output.dense.": ".attn.proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
}
OTHER_NAMES = {
    "text_model.": "text_branch.",
    "_projection.linear1.": "_projection.0.",
    "_projection.linear2.": "_projection.2.",
}
#: Counted, not learnt: either library makes them itself.
COMPUTED = (".position_ids", ".token_type_ids", ".relative_position_index", ".attn_mask")
#: Parts that embeddings do not pass through: a classifier, heads of the training objective, and the front end.
UNUSED = (
    "audio_branch.head.",
    "audio_branch.tscam_conv.",
    "audio_branch.logmel_extractor.",
    "audio_branch.spectrogram_extractor.",
    "audio_transform.",
    "text_transform.",
)


def read_laion(path: str | Path) -> dict[str, Tensor]:
    """The networks' tensors by name, without executing what the file may contain.

    Args:
        path: a file that ``laion_clap`` saved, with or without the state of its training.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is not a CLAP of HTSAT and RoBERTa without feature fusion.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint of laion_clap at {path}, where there is none: fetch it with {FETCH}"
        )
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            # By memory mapping, the optimizer's state in the file is not read.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        cause = next((line for line in str(error).splitlines() if "GLOBAL" in line), str(error).split("\n")[0]).strip()
        raise CheckpointError(
            f"expected a checkpoint of laion_clap in {path}, but it is truncated, or holds more than tensors and "
            f"numbers, which is not loaded since it could run code of its author ({cause}): fetch it again with {FETCH}"
        ) from None
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if any(".mel_conv2d." in name or ".fusion_model." in name for name in tensors):
        raise CheckpointError(
            f"expected a CLAP without feature fusion, got one with it in {path}: take another, with {FETCH}"
        )
    for name in ("audio_branch.patch_embed.proj.weight", "text_branch.embeddings.word_embeddings.weight"):
        if name not in tensors:
            raise CheckpointError(
                f"expected a CLAP of HTSAT and RoBERTa in {path}, but it has no {name} (its first tensors: "
                f"{', '.join(list(tensors)[:3]) or 'none'}): fetch another with {FETCH}"
            )
    return tensors


def clap_model(tensors: Mapping[str, Tensor], origin: object) -> ClapModel:
    """The same networks as a ``transformers.ClapModel``, in float32.

    Args:
        tensors: of :func:`read_laion`.
        origin: where they come from, in messages.

    Raises:
        CheckpointError: if tensors are missing or left over, or do not fit.
    """
    model = ClapModel(ClapConfig(text_config=text_settings(tensors), audio_config=_audio_settings(tensors)))
    weights, wanted, wrong = {}, set(), []
    for name, place in model.state_dict().items():
        source = _laion_name(name)
        if source.endswith(COMPUTED):
            continue
        wanted.add(source)
        if source in tensors:
            tensor = tensors[source].float()
            if ".attn.qkv." in source:
                tensor = tensor.chunk(3)[("query", "key", "value").index(name.split(".")[-2])]
            if tensor.shape != place.shape:
                wrong.append(f"{source} ({tuple(tensor.shape)} instead of {tuple(place.shape)})")
            weights[name] = tensor
    left = {name for name in tensors.keys() - wanted if not name.endswith(COMPUTED) and not name.startswith(UNUSED)}
    complaints = [
        f"{kind}: {', '.join(sorted(names)[:5])}{' and more' * (len(names) > 5)}"
        for kind, names in (("missing", wanted - tensors.keys()), ("unexpected", left), ("of another shape", wrong))
        if names
    ]
    if complaints:
        raise CheckpointError(
            f"expected a whole CLAP of laion_clap in {origin}, got {'; '.join(complaints)}: {FETCH} is one"
        )
    model.load_state_dict(weights, strict=False)  # what COMPUTED names is not replaced
    return model.eval()


def feature_extractor(tensors: Mapping[str, Tensor], origin: object) -> ClapFeatureExtractor:
    """Settings of the front end that these models were trained with: 10 s at 48 kHz, 64 mel bins of 50 to 14,000 Hz.

    Raises:
        CheckpointError: if the checkpoint's own mel filters are others.
    """
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14000)
    filters = tensors.get("audio_branch.logmel_extractor.melW")
    expected = torch.as_tensor(extractor.mel_filters_slaney, dtype=torch.float32)
    if filters is not None and (filters.shape != expected.shape or not torch.allclose(filters, expected, atol=1e-6)):
        raise CheckpointError(
            f"expected mel filters of 50 to 14000 Hz {tuple(expected.shape)} in {origin}, got others "
            f"{tuple(filters.shape)}: its settings are not those of the published ones; fetch one with {FETCH}"
        )
    return extractor


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
    tokenizer = AutoTokenizer.from_pretrained(folder)
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


def text_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What ``RobertaConfig`` and ``ClapTextConfig`` need to know of the text network."""
    table = tensors["text_branch.embeddings.word_embeddings.weight"]
    widest = tensors.get("text_branch.encoder.layer.0.intermediate.dense.weight", table)
    positions = tensors.get("text_branch.embeddings.position_embeddings.weight", table)
    return {
        "vocab_size": table.shape[0],
        "hidden_size": table.shape[1],
        "num_hidden_layers": _count(tensors, "text_branch.encoder.layer."),
        "num_attention_heads": table.shape[1] // 64,
        "intermediate_size": widest.shape[0],
        "max_position_embeddings": positions.shape[0],
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,  # roberta-base's; not ClapTextConfig's default
        "pad_token_id": 1,
    }


def _audio_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    width = tensors["audio_branch.patch_embed.proj.weight"].shape[0]
    stages = [f"audio_branch.layers.{i}.blocks." for i in range(_count(tensors, "audio_branch.layers."))]
    tables = [tensors.get(f"{stage}0.attn.relative_position_bias_table") for stage in stages]
    return {
        "patch_embeds_hidden_size": width,
        "hidden_size": width * 2 ** max(0, len(stages) - 1),
        "depths": [_count(tensors, stage) for stage in stages],
        "num_attention_heads": [1 if table is None else table.shape[1] for table in tables],
    }


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def _laion_name(name: str) -> str:
    for ours, theirs in (AUDIO_NAMES if name.startswith("audio_model.") else OTHER_NAMES).items():
        name = name.replace(ours, theirs)
    return name

"""CLAP: a network for sounds and one for captions, whose vectors share one space.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023, https://arxiv.org/abs/2211.06687. The networks are those of ``transformers.ClapModel``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerBase

from consistency_tta.components.attention_mask import attention_mask
from consistency_tta.components.clap_front_end import ClapFrontEnd
from consistency_tta.components.laion_checkpoint import FETCH, read_laion
from consistency_tta.components.laion_model import clap_model, feature_extractor
from consistency_tta.components.laion_tokenizer import fetched, laion_tokenizer
from consistency_tta.components.without_code import load_without_code
from consistency_tta.runtime.cut_inputs import warn_of_cut_captions
from consistency_tta.runtime.device import to_device
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.text import parse_json, read_text


class Clap(nn.Module):
    """A ``transformers.ClapModel`` with its tokenizer and front end; trainable.

    Args:
        model: the networks.
        tokenizer: of the text network.
        extractor: settings of the front end.
    """

    def __init__(self, model: ClapModel, tokenizer: PreTrainedTokenizerBase, extractor: ClapFeatureExtractor) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.extractor = extractor
        self.front_end = ClapFrontEnd(extractor)
        text = model.config.text_config
        # Positions are counted from behind the padding's index.
        self.max_length = min(tokenizer.model_max_length, text.max_position_embeddings - text.pad_token_id - 1)

    def embed_features(self, features: Tensor) -> Tensor:
        """Log-mel spectrograms (B, 1, frames, bins) -> unit vectors (B, D) in float32."""
        # Not get_audio_features, whose result has changed between versions of transformers.
        hidden = self.model.audio_model(input_features=features).pooler_output
        return F.normalize(self.model.audio_projection(hidden).float(), dim=-1)

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) at the front end's rate -> unit vectors (B, D) in float32."""
        return self.embed_features(self.front_end(waveform))

    def audio_features(self, waveform: Tensor) -> list[Tensor]:
        """Waveform (B, samples) at the front end's rate -> of each level (B, channels, height, width)."""
        features = self.front_end(waveform)
        return list(self.model.audio_model(input_features=features, output_hidden_states=True).hidden_states)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """B captions -> unit vectors (B, D) in float32."""
        tokens = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        warn_of_cut_captions(self.tokenizer, captions, tokens.attention_mask, self.max_length)
        device = self.model.device
        mask = attention_mask(self.model.text_model, tokens.attention_mask, device)
        hidden = self.model.text_model(to_device(tokens.input_ids, device), attention_mask=mask).pooler_output
        return F.normalize(self.model.text_projection(hidden).float(), dim=-1)

    @property
    def components(self) -> dict[str, Any]:
        """The parts by name, as a ``diffusers.DiffusionPipeline`` has them; ``export --half`` needs them."""
        return {"model": self.model, "tokenizer": self.tokenizer, "feature_extractor": self.extractor}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that :class:`TransformersClap`, ``ClapModel`` and ``ClapProcessor`` load."""
        for part in self.components.values():
            part.save_pretrained(folder)


def clap_folder(name: str) -> Path:
    """Where :class:`TransformersClap` finds the model of this name."""
    folder = fetched(name, "config.json")
    if folder.suffix in (".pt", ".pth", ".ckpt") and not folder.exists():
        raise FileNotFoundError(f"expected a CLAP, but {name} does not exist: fetch one of laion_clap with {FETCH}")
    if not (folder / "config.json").exists():
        fault = "has no config.json" if folder.exists() else "is neither a folder here nor a fetched model of the hub"
        raise FileNotFoundError(
            f"expected a CLAP, but {name} {fault}: train one with the recipe tiny/clap, or fetch one with "
            "`hf download laion/clap-htsat-unfused`"
        )
    kind = parse_json(read_text(folder / "config.json"), str(folder / "config.json")).get("model_type")
    if kind != "clap":  # transformers would go on with random weights
        raise ModelFolderError(f"expected a model of type 'clap' in {name}, got {kind!r}")
    return folder


def load_clap(name: str | Path) -> Clap:
    """A CLAP of a folder, by ``Clap.save_pretrained`` or ``ClapModel`` and ``ClapProcessor``, in float32."""
    folder = clap_folder(resolve(name, TRANSFORMERS))
    return Clap(
        ClapModel.from_pretrained(folder, dtype=torch.float32),
        load_without_code(AutoTokenizer.from_pretrained, folder),
        ClapFeatureExtractor.from_pretrained(folder),
    )


def load_laion(checkpoint: str | Path, tokenizer: str | Path = "roberta-base") -> Clap:
    """A CLAP of a checkpoint of ``laion_clap``, in float32.

    Args:
        checkpoint: the file.
        tokenizer: of RoBERTa, which the file lacks; see :func:`laion_tokenizer`.

    Raises:
        FileNotFoundError: if one of them is not there.
        CheckpointError: if the file is another than expected.
        ConfigurationError: if the tokenizer is that of another model.
    """
    tensors = read_laion(checkpoint)
    model = clap_model(tensors, checkpoint)
    return Clap(
        model,
        laion_tokenizer(tokenizer, model.config.text_config.vocab_size),
        feature_extractor(tensors, checkpoint),
    )

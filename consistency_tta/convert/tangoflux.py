"""TangoFlux.

Source: Hung et al., "TangoFlux: Super Fast and Faithful Text to Audio Generation with Flow Matching and Clap-Ranked
Preference Optimization", 2024, https://arxiv.org/abs/2412.21037; its files are read as ``tangoflux/__init__.py`` and
``tangoflux/model.py`` in https://github.com/declare-lab/TangoFlux do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor
from transformers import PreTrainedModel

from consistency_tta.components.tangoflux_projection import TangoFluxProjection
from consistency_tta.convert.checkpoint import Checkpoint, read_all
from consistency_tta.convert.exact import build_matching, shape
from consistency_tta.convert.oobleck import oobleck
from consistency_tta.convert.text import t5_encoder, text_parts
from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.text import parse_json, read_text

#: What ``config.json`` may leave out.
SETTINGS = {
    "num_layers": 6,
    "num_single_layers": 18,
    "in_channels": 64,
    "attention_head_dim": 128,
    "joint_attention_dim": 1024,
    "num_attention_heads": 8,
    "audio_seq_len": 645,
    "max_duration": 30,
}
#: What the names of the network's tensors begin with.
PREFIXES = ("transformer.", "fc.", "duration_emebdder.", "text_encoder.")


def tangoflux(checkpoints: Sequence[Path], text_encoder: str | None) -> TextToAudioPipeline:
    """A teacher from TangoFlux's files, sampled in 50 Euler steps (DDIM on a rectified flow is Euler's method).

    Args:
        checkpoints: a copy of ``declare-lab/TangoFlux``, or its files ``tangoflux.safetensors``, ``vae.safetensors``
            and ``config.json``; the last is looked for beside the first, too.
        text_encoder: hub id or folder of the tokenizer and, where the file has none, of the text encoder; None leaves
            both out.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one holds something else.
    """
    main, codec = _classify(read_all([path for path in checkpoints if path.suffix != ".json"]))
    return assemble_pipeline(main, codec, _settings(checkpoints, main), text_encoder)


def assemble_pipeline(
    main: Checkpoint, codec: Checkpoint, given: Mapping[str, Any], text_encoder: str | None
) -> TextToAudioPipeline:
    """A pipeline of the network's file, the autoencoder's, and the content of ``config.json``."""
    settings = SETTINGS | dict(given)
    words = main.under("text_encoder.")
    width = shape(main.tensors, "fc.0.weight", "TangoFlux", main.path)[1]
    parts = {} if text_encoder is None else text_parts(words, text_encoder, width, main.path)
    encoder = parts["text_encoder"] if parts else t5_encoder(words, main.path)
    return TextToAudioPipeline(
        **parts,
        vae=oobleck(codec.tensors, 44100, codec.path),
        transformer=_transformer(main, settings, width),
        projection_model=_projection(main, settings, padding_state(encoder)),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000),
        sampler=ODESampler(50),
    )


@torch.no_grad()
def padding_state(encoder: PreTrainedModel) -> Tensor:
    """What a T5 encoder returns (width,) for padding after the empty prompt, alike at every position.

    The end token is all that such a position attends to, so that neither T5's relative positions nor the amount of
    padding matter.
    """
    tokens = torch.tensor([[encoder.config.eos_token_id, encoder.config.pad_token_id]], device=encoder.device)
    mask = torch.tensor([[1, 0]], device=encoder.device)
    return encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[0, 1]


def _classify(files: Sequence[Checkpoint]) -> tuple[Checkpoint, Checkpoint]:
    """The file of the network, and that of the autoencoder."""
    main = [file for file in files if file.has("transformer.")]
    codec = [file for file in files if file.has("encoder.conv1.")]
    if len(main) != 1 or len(codec) != 1 or len(files) != 2:
        raise ConfigurationError(
            "expected tangoflux.safetensors, whose names begin with transformer., and vae.safetensors, whose names "
            f"begin with encoder. and decoder., got {', '.join(str(file.path) for file in files) or 'neither'}"
        )
    others = [name for name in main[0].tensors if not name.startswith(PREFIXES)]
    if others:
        raise ConfigurationError(
            f"{main[0].path} holds {len(others)} tensors whose names begin with none of {', '.join(PREFIXES)}: "
            f"{', '.join(others[:4])}"
        )
    return main[0], codec[0]


def _settings(checkpoints: Sequence[Path], main: Checkpoint) -> Mapping[str, Any]:
    given = [path for path in checkpoints if path.suffix == ".json"]
    path = given[0] if given else main.path.with_name("config.json")
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: add TangoFlux's config.json, or put it beside {main.path.name}")
    return parse_json(read_text(path), str(path))


def _transformer(main: Checkpoint, settings: Mapping[str, Any], width: int) -> FluxTransformer2DModel:
    names = ("num_layers", "num_single_layers", "in_channels", "attention_head_dim", "num_attention_heads")
    config = {name: settings[name] for name in (*names, "joint_attention_dim")}
    return build_matching(
        lambda: FluxTransformer2DModel(**config, pooled_projection_dim=width, guidance_embeds=False),
        main.under("transformer."),
        "TangoFlux's transformer",
        main.path,
    )


def _projection(main: Checkpoint, settings: Mapping[str, Any], padding: Tensor) -> TangoFluxProjection:
    renamed = {"pooled.": "fc.", "duration.": "duration_emebdder."}
    weights = {name: tensor for name, tensor in main.tensors.items() if name.startswith(tuple(renamed.values()))}
    return build_matching(
        lambda: TangoFluxProjection(len(padding), settings["max_duration"], settings["audio_seq_len"]),
        weights | {"padding": padding},
        "TangoFlux's projections",
        main.path,
        lambda name: next((theirs + name.removeprefix(ours) for ours, theirs in renamed.items() if ours in name), name),
    )

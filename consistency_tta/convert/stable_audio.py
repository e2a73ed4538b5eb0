"""Stable Audio Open, from its published folder in diffusers' layout.

Source: Evans et al., "Stable Audio Open", 2024, https://arxiv.org/abs/2407.14358; the folder is that of diffusers'
``StableAudioPipeline`` (https://huggingface.co/stabilityai/stable-audio-open-1.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import AutoencoderOobleck, CosineDPMSolverMultistepScheduler, StableAudioDiTModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel
from torch import Tensor
from transformers import AutoTokenizer

from consistency_tta.components.text import TextEncoder
from consistency_tta.components.without_code import load_without_code
from consistency_tta.convert.component import read_component
from consistency_tta.convert.exact import build_matching
from consistency_tta.convert.text import t5_encoder
from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.diffusion.schedules import schedule_from_config
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, MissingExtraError

#: Classes by the names of their components.
NETWORKS: dict[str, Any] = {
    "vae": AutoencoderOobleck,
    "transformer": StableAudioDiTModel,
    "projection_model": StableAudioProjectionModel,
}


def stable_audio(checkpoints: Sequence[Path], with_text: bool = True) -> TextToAudioPipeline:
    """A teacher from a folder of ``StableAudioPipeline``.

    Sampled as published, in 100 steps from sigma / alpha = 500 down to 0.3 in equal ratios, but by DDIM, which draws no
    noise on the way, in the place of an SDE solver.

    Args:
        checkpoints: one folder, a copy of ``stabilityai/stable-audio-open-1.0`` or of one in the same layout.
        with_text: whether to take text encoder and tokenizer along.

    Raises:
        ConfigurationError: if it is not one folder.
        FileNotFoundError: if a component is missing.
        MissingExtraError: if torchsde is not installed.
        ValueError: if a component's weights are not exactly those of its configuration.
    """
    if len(checkpoints) != 1 or not checkpoints[0].is_dir():
        raise ConfigurationError(
            f"expected one folder of diffusers' StableAudioPipeline, got {', '.join(map(str, checkpoints))}"
        )
    [folder] = checkpoints
    parts: dict[str, Any] = {name: _network(folder / name) for name in NETWORKS}
    if with_text:
        parts |= _text(folder)
    parts["scheduler"] = _scheduler(folder / "scheduler")
    return TextToAudioPipeline(**parts, sampler=ODESampler(100, grid="ExponentialGrid"))


def network(name: str, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: object) -> Any:
    """A component of that name with exactly these weights; ``settings`` are its ``config.json``."""
    kind = NETWORKS[name]
    return build_matching(lambda: kind.from_config(dict(settings)), tensors, f"a {kind.__name__}", origin)


def _network(folder: Path) -> Any:
    settings, weights = read_component(folder, "diffusion_pytorch_model")
    return network(folder.name, settings, weights.tensors, weights.path)


def _text(folder: Path) -> dict[str, Any]:
    _, weights = read_component(folder / "text_encoder", "model", "pytorch_model")
    encoder = t5_encoder(weights.tensors, weights.path)
    if not (folder / "tokenizer").is_dir():
        raise FileNotFoundError(f"expected the tokenizer of T5 in {folder / 'tokenizer'}, but there is no such folder")
    tokenizer = load_without_code(AutoTokenizer.from_pretrained, folder / "tokenizer")
    TextEncoder(tokenizer, encoder)  # refuses a tokenizer without a vocabulary, and sets where captions are cut
    return {"tokenizer": tokenizer, "text_encoder": encoder}


def _scheduler(folder: Path) -> Any:
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a scheduler in {folder}, but there is no such folder")
    try:
        scheduler = CosineDPMSolverMultistepScheduler.from_pretrained(folder)
    except ImportError:
        raise MissingExtraError(
            "diffusers loads Stable Audio's scheduler only where torchsde is installed: "
            "pip install 'consistency-tta[stable-audio]'"
        ) from None
    schedule_from_config(scheduler.config)  # refuses what is not Stable Audio's
    return scheduler

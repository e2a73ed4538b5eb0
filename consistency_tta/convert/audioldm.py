"""AudioLDM's mel front end, autoencoder and vocoder.

Its U-Net reads one CLAP embedding in the place of text tokens, which no pipeline here does, and is left out: what comes
of it is the folder from which ``LatentDiffusion`` starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.convert.checkpoint import Checkpoint
from consistency_tta.convert.codec import autoencoder, vocoder, without_weight_norm
from consistency_tta.convert.component import read_component
from consistency_tta.convert.exact import build_matching
from consistency_tta.convert.sources import Sources, classify_checkpoints, codec_tensors
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError

#: AudioLDM's front end (``default_audioldm_config``), in the words of TANGO's ``stft_config.json``.
STFT = {
    "filter_length": 1024,
    "hop_length": 160,
    "win_length": 1024,
    "sampling_rate": 16000,
    "mel_fmin": 0,
    "mel_fmax": 8000,
}
#: Of the mid-block's attention, in folders that old versions of diffusers wrote.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def audioldm(checkpoints: Sequence[Path], scale_factor: float | None = None) -> TextToAudioPipeline:
    """Mel front end, autoencoder and vocoder of an original checkpoint, or of a diffusers folder.

    Args:
        checkpoints: one file such as ``audioldm-s-full.ckpt``, or one folder such as a copy of ``cvssp/audioldm``.
        scale_factor: if the file has none.
    """
    if len(checkpoints) == 1 and (checkpoints[0] / "vae").is_dir():
        return from_diffusers(checkpoints[0])
    sources = classify_checkpoints(checkpoints, ("vae.",))
    return TextToAudioPipeline(**codec_parts(sources, scale_factor))


def codec_parts(
    sources: Sources, scale_factor: float | None, replaced: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Mel front end, autoencoder and vocoder as components of a pipeline.

    Args:
        sources: the files.
        scale_factor: of the latents, where no file has it.
        replaced: tensors of the autoencoder that stand in for those of the file.
    """
    if sources.codec is None:
        raise CheckpointError(
            "no file holds the autoencoder and vocoder: add AudioLDM's checkpoint audioldm-s-full, or a "
            "pytorch_model_vae.bin or vae_state_dict.pt, to the checkpoints"
        )
    origin = sources.codec.path
    tensors = codec_tensors(sources.codec) | dict(replaced or {})
    voice = {name: tensor for name, tensor in tensors.items() if name.startswith("vocoder.")}
    rest = {name: tensor for name, tensor in tensors.items() if name not in voice}
    settings = STFT | sources.settings("stft_config.json")
    hifigan = vocoder(
        {name.removeprefix("vocoder."): tensor for name, tensor in voice.items()}, settings["sampling_rate"], origin
    )
    vae = autoencoder(rest, scale_factor or _scale_factor(sources), origin)
    mel = mel_spectrogram({"n_mel_channels": hifigan.config.model_in_dim} | settings, hifigan)
    if sources.stft is not None:
        _check_filters(mel, sources.stft)
    return {"mel": mel, "vae": vae, "vocoder": hifigan}


def mel_spectrogram(settings: Mapping[str, Any], hifigan: SpeechT5HifiGan) -> MelSpectrogram:
    """The front end that a vocoder understands, from settings named as in AudioLDM."""
    hop_length = math.prod(hifigan.config.upsample_rates)
    wanted = (settings["filter_length"], hop_length, hifigan.config.model_in_dim)
    given = (settings["win_length"], settings["hop_length"], settings["n_mel_channels"])
    if wanted != given:
        raise CheckpointError(
            "expected a window as long as the transform, and the vocoder's hop and number of mel bins, that is "
            f"win_length, hop_length and n_mel_channels {wanted}, got {given}"
        )
    return MelSpectrogram(
        sample_rate=settings["sampling_rate"],
        n_fft=settings["filter_length"],
        hop_length=hop_length,
        n_mels=settings["n_mel_channels"],
        f_min=float(settings["mel_fmin"]),
        f_max=float(settings["mel_fmax"]),
    )


def from_diffusers(folder: Path) -> TextToAudioPipeline:
    """The same of a folder in the layout of diffusers' ``AudioLDMPipeline``."""
    settings, weights = read_component(folder / "vae", "diffusion_pytorch_model")
    tensors = dict(weights.tensors)
    for name in list(tensors):
        module, _, kind = name.rpartition(".")
        parent, _, last = module.rpartition(".")
        if last in OLD_NAMES and ".attentions." in name:
            tensors[f"{parent}.{OLD_NAMES[last]}.{kind}"] = tensors.pop(name)
    vae = build_matching(lambda: AutoencoderKL.from_config(settings), tensors, "diffusers' autoencoder", weights.path)
    settings, weights = read_component(folder / "vocoder", "model", "pytorch_model")
    config = SpeechT5HifiGanConfig(**settings)
    voice = without_weight_norm(weights.tensors)
    hifigan = build_matching(lambda: SpeechT5HifiGan(config), voice, "transformers' HiFi-GAN", weights.path)
    mel = mel_spectrogram(
        STFT | {"sampling_rate": config.sampling_rate, "n_mel_channels": config.model_in_dim}, hifigan
    )
    return TextToAudioPipeline(mel=mel, vae=vae, vocoder=hifigan)


def _scale_factor(sources: Sources) -> float:
    """What brings latents to unit variance, as the autoencoder's file or its neighbour ``vae_config.json`` has it."""
    assert sources.codec is not None
    value = sources.codec.number("scale_factor") or sources.settings("vae_config.json").get("scale_factor")
    if value is None:
        raise ConfigurationError(
            f"neither {sources.codec.path} nor a vae_config.json in its folder has the scale_factor of the latents: "
            "give it with --scale_factor (0.9227914214134216 for that of audioldm-s-full, TANGO and ConsistencyTTA)"
        )
    return float(value)


def _check_filters(mel: MelSpectrogram, stft: Checkpoint) -> None:
    """Compare our mel filters to those that were stored with a model."""
    stored = stft.tensors["mel_basis"].float().T
    if stored.shape != mel.filters.shape or not torch.allclose(stored, mel.filters, atol=1e-5):
        raise CheckpointError(
            f"the mel filters in {stft.path} {tuple(stored.shape)} are not those that its settings describe "
            f"{tuple(mel.filters.shape)}: check stft_config.json"
        )

"""TANGO's published files at reduced width, with arbitrary weights; a notebook makes them, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from scipy.signal import get_window
from torch import Tensor

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.text import ByteTextEncoder
from tests.convert import published

SCALE = 0.75


def text_encoder_folder(folder: Path) -> Path:
    """A T5 of width 16 and its tokenizer, in the layout of the hub."""
    torch.manual_seed(0)
    text = ByteTextEncoder(width=16, num_layers=1, num_heads=2)
    text.encoder.save_pretrained(folder)
    text.tokenizer.save_pretrained(folder)
    return folder


def tango_weights() -> dict[str, Tensor]:
    """The tensors of ``pytorch_model_main.bin``."""
    text = published.filled(published.t5(**published.SMALL_T5))
    text["encoder.embed_tokens.weight"] = text["shared.weight"]
    network = published.filled(published.unet(**published.SMALL_UNET))
    return published.prefixed("unet.", network) | published.prefixed("text_encoder.", text)


def write_tango(folder: Path, weights: Mapping[str, Tensor] | None = None) -> Path:
    """Write a folder as ``tango.py`` reads it: names of files and keys of the JSON files are from there."""
    folder.mkdir()
    torch.save(dict(weights or tango_weights()), folder / "pytorch_model_main.bin")
    torch.save(published.small_autoencoder().state_dict(), folder / "pytorch_model_vae.bin")
    transform = torch.fft.fft(torch.eye(1024))[:513] * torch.tensor(get_window("hann", 1024)).float()
    stft = {
        "mel_basis": MelSpectrogram(n_mels=published.N_MELS).filters.T.contiguous(),
        "stft_fn.forward_basis": torch.cat([transform.real, transform.imag])[:, None],
        "stft_fn.inverse_basis": torch.zeros(1026, 1, 1024),
    }
    torch.save(stft, folder / "pytorch_model_stft.bin")
    settings = {
        "main_config.json": {
            "text_encoder_name": "google/flan-t5-large",
            "scheduler_name": "stabilityai/stable-diffusion-2-1",
            "unet_model_config_path": "configs/diffusion_model_config.json",
        },
        "vae_config.json": {"embed_dim": 4, "scale_factor": SCALE},
        "stft_config.json": {
            "filter_length": 1024,
            "hop_length": 160,
            "win_length": 1024,
            "n_mel_channels": published.N_MELS,
            "sampling_rate": 16000,
            "mel_fmin": 0,
            "mel_fmax": 8000,
        },
    }
    for name, content in settings.items():
        (folder / name).write_text(json.dumps(content))
    return folder

"""Addresses that hold their content themselves, so that a page is one file."""

from __future__ import annotations

import base64
import io

import soundfile
from torch import Tensor


def data_uri(content: bytes, kind: str) -> str:
    """Content of a MIME type as a ``data:`` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def audio_uri(waveform: Tensor, sample_rate: int) -> str:
    """A waveform as 16-bit FLAC, which is lossless: the listener gets the model's sound and no codec's.

    Args:
        waveform: (samples,) or (samples, channels) in [-1, 1]; what lies outside is clipped.
        sample_rate: in Hz.
    """
    file = io.BytesIO()
    soundfile.write(file, waveform.clamp(-1, 1).numpy(), sample_rate, format="FLAC", subtype="PCM_16")
    return data_uri(file.getvalue(), "audio/flac")

"""Sounds of several models as HTML: columns of spectrograms and players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.app.comparison import Column
from consistency_tta.components.mel import MelSpectrogram, full_band_mel
from consistency_tta.contracts import to_mono
from consistency_tta.pipeline import TextToAudioOutput
from consistency_tta.reporting.data_uri import audio_uri, data_uri
from consistency_tta.reporting.page import render_page
from consistency_tta.reporting.spectrogram import png_file
from consistency_tta.reporting.spectrogram_plot import spectrogram_plot

TEMPLATE = Path(__file__).with_name("results.html")


@dataclass(frozen=True)
class SoundView:
    """A sound on the page: the addresses of its FLAC file and of its spectrogram."""

    audio: str
    picture: str


def render_columns(columns: Sequence[Column], prompt: str) -> str:
    """The columns as HTML. The spectrograms of all sounds have one colour scale."""
    mels = [None if column.sounds is None else _log_mels(column.sounds) for column in columns]
    high = max((float(mel.max()) for pair in mels if pair is not None for mel in pair[0]), default=0.0)
    views: list[list[SoundView]] = []
    for column, pair in zip(columns, mels, strict=True):
        if column.sounds is None or pair is None:
            views.append([])
            continue
        rate, (mel, front_end) = column.sounds.sample_rate, pair
        views.append(
            [
                SoundView(
                    audio_uri(sound.movedim(-1, 0), rate),
                    data_uri(png_file(spectrogram_plot(one, front_end.config, high)), "image/png"),
                )
                for sound, one in zip(column.sounds.waveform, mel, strict=True)
            ]
        )
    facts = [[column.status] if column.sounds is None else timing(column.sounds) for column in columns]
    return render_page(TEMPLATE, columns=list(zip(columns, views, facts, strict=True)), prompt=prompt)


def timing(sounds: TextToAudioOutput) -> list[str]:
    """Lines on how many queries a model needed, and how much time for all its sounds."""
    total, number = sum(sounds.seconds.values()), len(sounds.waveform)
    length = number * sounds.waveform.shape[-1] / sounds.sample_rate
    queries = "1 query" if sounds.queries == 1 else f"{sounds.queries} queries"
    return [
        f"{queries}{'' if number == 1 else ' each'}, {total:.2f} s for {length:.2f} s of sound",
        f"latents {sounds.seconds['latents']:.2f} s, decoders {sounds.seconds['decoders']:.2f} s",
    ]


def _log_mels(sounds: TextToAudioOutput) -> tuple[Tensor, MelSpectrogram]:
    """Log-mel spectrograms (B, frames, bins) of sounds, and their front end."""
    front_end = full_band_mel(sounds.sample_rate)
    with torch.no_grad():
        return front_end(to_mono(sounds.waveform)), front_end

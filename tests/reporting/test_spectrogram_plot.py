"""Plots have the picture inside, ticks outside, and nothing behind."""

from __future__ import annotations

import numpy as np
import torch

from consistency_tta.reporting.spectrogram import palette
from consistency_tta.reporting.spectrogram_plot import GREY, spectrogram_plot

FRONT_END = {"f_min": 0.0, "f_max": 8000.0, "sample_rate": 16000, "hop_length": 160, "n_mels": 64}


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Where something is drawn that is not the grey of the ticks."""
    return (pixels[..., 3] == 255) & (abs(pixels[..., :3].astype(int) - GREY[:3]).max(-1) > 20)


def test_low_frequencies_are_at_the_bottom_and_time_is_to_the_right() -> None:
    mel = torch.full((300, 64), -10.0)
    mel[:150, :16] = 0.0  # low notes in the first half
    pixels = np.asarray(spectrogram_plot(mel, FRONT_END, 0.0))
    bright = (abs(pixels[..., :3].astype(int) - palette()[255]).max(-1) < 10) & (pixels[..., 3] == 255)
    rows, columns = np.nonzero(coloured(pixels))
    bright_rows, bright_columns = np.nonzero(bright)
    middle = columns.min() + np.ptp(columns) / 2
    assert abs(bright_columns.max() - middle) < 4
    assert abs(bright_columns.min() - columns.min()) < 4
    assert abs(bright_rows.max() - rows.max()) < 4
    assert bright_rows.min() > rows.min() + 0.7 * np.ptp(rows)


def test_ticks_are_left_and_below_and_the_background_is_transparent() -> None:
    pixels = np.asarray(spectrogram_plot(torch.zeros(300, 64), FRONT_END, size=(400, 200)))
    assert pixels.shape == (200, 400, 4)
    rows, columns = np.nonzero(coloured(pixels))
    ink = pixels[..., 3] > 0
    assert ink[:, : columns.min() - 2].any()
    assert ink[rows.max() + 2 :].any()
    assert not ink[: rows.min() - 12].any()
    assert not ink[0, 0]


def test_a_long_title_is_cut() -> None:
    plain, short, long = (
        np.asarray(spectrogram_plot(torch.zeros(300, 64), FRONT_END, title=title))
        for title in ("", "rain", "rain " * 99)
    )
    assert not (plain[:8, :, 3] > 0).any()
    assert (short[:30, :, 3] > 0).any()
    assert not (long[:30, -8:, 3] > 0).any()
    assert plain.shape == long.shape

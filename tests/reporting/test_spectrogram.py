"""Spectrograms have time to the right, high frequencies on top, and colours of equal steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from consistency_tta.reporting.spectrogram import DECIBEL, DYNAMIC_RANGE, palette, spectrogram_uri
from tests.reporting.pages import content_of


def test_time_is_to_the_right_and_high_frequencies_are_on_top() -> None:
    low = -DYNAMIC_RANGE * DECIBEL
    mel = torch.full((30, 20), low)
    mel[4, 1] = 0.0
    mel[10, 19] = low / 2
    mel[11, 0] = 2 * low
    picture = Image.open(content_of(spectrogram_uri(mel, 0.0), "image/png"))
    assert picture.size == (30, 20)
    pixels = np.array(picture.convert("RGB"))
    assert tuple(pixels[20 - 1 - 1, 4]) == tuple(palette()[255])
    assert tuple(pixels[0, 10]) == tuple(palette()[128])
    pixels[18, 4] = pixels[0, 10] = palette()[0]
    assert (pixels == palette()[0]).all()


def test_the_dynamic_range_is_in_decibels() -> None:
    assert np.exp(DYNAMIC_RANGE * DECIBEL) == pytest.approx(10 ** (DYNAMIC_RANGE / 20))


def test_colours_rise_in_lightness_in_equal_steps() -> None:
    """CIE 1976 L*, as the original's designers did."""
    linear = (palette() / 255.0).astype(float)
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
    steps = np.diff(lightness[::16])
    assert (steps > 0).all()
    assert steps.std() < 0.25 * steps.mean()

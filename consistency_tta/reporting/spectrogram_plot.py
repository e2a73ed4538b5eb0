"""Spectrograms with axes, as pictures for web pages and loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from consistency_tta.reporting.axes import mel_axes
from consistency_tta.reporting.spectrogram import spectrogram_image

#: Frequencies that may be marked, in Hz.
HERTZ = (500, 1000, 2000, 4000, 8000, 16000)
#: Grey that is legible on white and on black.
GREY = (125, 130, 140, 255)


def spectrogram_plot(
    mel: Tensor,
    front_end: Mapping[str, Any],
    high: float | None = None,
    title: str = "",
    size: tuple[int, int] = (640, 300),
) -> Image.Image:
    """Draw a log-mel spectrogram in colour, with seconds and Hz along its sides.

    Args:
        mel: (frames, bins), natural logarithms of amplitudes.
        front_end: see :func:`~consistency_tta.reporting.axes.mel_axes`.
        high: value of the lightest colour, the same for pictures to compare; the maximum of ``mel`` if not given.
        title: text above, cut to the width.
        size: width and height in pixels.

    Returns:
        An image in RGBA, transparent where nothing is drawn.
    """
    mel = mel.detach().float().cpu()
    width, height = size
    font = ImageFont.load_default(size=21)
    left, right, top, bottom, mark = 84, 10, 34 if title else 14, 34, 5
    inner = (width - left - right, height - top - bottom)
    pixels = spectrogram_image(mel, float(mel.max()) if high is None else high).convert("RGBA")
    plot = Image.new("RGBA", size, (0, 0, 0, 0))
    plot.paste(pixels.resize(inner, Image.Resampling.BILINEAR), (left, top))
    draw = ImageDraw.Draw(plot)
    axes = mel_axes(front_end, len(mel), HERTZ)
    for place, label in axes.y:
        y = top + round((1 - place) * inner[1])
        draw.line([(left - mark, y), (left, y)], GREY)
        draw.text((left - mark - 4, y), label, GREY, font, anchor="rm")
    for place, label in axes.x:
        x = left + round(place * inner[0])
        draw.line([(x, top + inner[1]), (x, top + inner[1] + mark)], GREY)
        anchor = "la" if place == 0 else "ra" if place > 0.98 else "ma"
        draw.text((x, top + inner[1] + mark + 2), label, GREY, font, anchor=anchor)
    if title:
        title = title[:120]
        while draw.textlength(title, font) > inner[0] and len(title) > 1:
            title = title[:-2] + "…"
        draw.text((left, 4), title, GREY, font)
    return plot

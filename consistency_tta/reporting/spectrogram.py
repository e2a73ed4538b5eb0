"""Pictures of mel spectrograms."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

from consistency_tta.reporting.data_uri import data_uri

#: Equally spaced colours of "magma", by Nathaniel J. Smith and Stéfan van der Walt, 2015, CC0,
#: https://bids.github.io/colormap: equal steps look equal, and lightness rises throughout.
MAGMA = (
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)
#: Difference of natural logarithms of amplitude that is one decibel.
DECIBEL = float(np.log(10) / 20)
#: Decibels from the darkest to the lightest colour of a page's spectrograms.
DYNAMIC_RANGE = 80


def palette() -> np.ndarray:
    """256 colours (256, 3) uint8, from dark to light."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in MAGMA.split()])
    positions = np.linspace(0, 1, len(anchors))
    channels = [np.interp(np.linspace(0, 1, 256), positions, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def spectrogram_image(mel: Tensor, high: float) -> Image.Image:
    """A log-mel spectrogram as an image of one pixel for each frame and bin, low frequencies at the bottom.

    Args:
        mel: (frames, bins), natural logarithms of amplitudes.
        high: value of the lightest colour; the darkest is :data:`DYNAMIC_RANGE` decibels lower.
    """
    low = high - DYNAMIC_RANGE * DECIBEL
    levels = ((mel - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
    image = Image.fromarray(levels.T.flip(0).contiguous().numpy())
    image.putpalette(palette().tobytes())
    return image


def spectrogram_png(mel: Tensor, high: float) -> bytes:
    """The image of :func:`spectrogram_image` as a PNG file."""
    return png_file(spectrogram_image(mel, high), optimize=True)


def spectrogram_uri(mel: Tensor, high: float) -> str:
    """The image of :func:`spectrogram_image` as an address."""
    return data_uri(spectrogram_png(mel, high), "image/png")


def png_file(image: Image.Image, optimize: bool = False) -> bytes:
    """An image as a PNG file; ``optimize`` makes it smaller, and takes longer."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=optimize)
    return file.getvalue()

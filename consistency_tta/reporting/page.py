"""Pieces of a web page that is one file and needs no network: sounds, mel spectrograms, curves.

What a page shows is text made by other files; here is how sound and pictures get into it, and how it looks
(``page.css``) and plays (``page.js``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from torch import Tensor
from transformers.audio_utils import hertz_to_mel

from consistency_tta.components.mel import MelSpectrogram

#: Equally spaced colours of "magma", by Nathaniel J. Smith and Stéfan van der Walt, 2015, CC0,
#: https://bids.github.io/colormap: equal steps look equal, and lightness rises throughout.
MAGMA = (
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)
#: Natural logarithms of amplitude in a decibel.
DECIBEL = np.log(10) / 20
#: A place on an axis, from 0, left or bottom, to 1, and what is written there.
Tick = tuple[float, str]


@dataclass(frozen=True)
class Axes:
    """What is written beside a picture.

    Attributes:
        x, y: ticks; the first says what they count.
    """

    x: Sequence[Tick]
    y: Sequence[Tick]


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a MIME type as an address that holds them itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def audio_uri(waveform: Tensor, sample_rate: int) -> str:
    """A waveform (samples,) in [-1, 1] as 16-bit FLAC: what is heard is the model's, not the encoder's."""
    file = io.BytesIO()
    soundfile.write(file, waveform.clamp(-1, 1).numpy(), sample_rate, format="FLAC", subtype="PCM_16")
    return data_uri(file.getvalue(), "audio/flac")


def palette() -> np.ndarray:
    """256 colours (256, 3) uint8, from dark to light."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in MAGMA.split()])
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(np.linspace(0, 1, 256), places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def spectrogram_uri(mel: Tensor, low: float, high: float) -> str:
    """A picture of a natural-log mel (frames, bins), low notes at the bottom, dark at ``low`` and light at ``high``."""
    levels = ((mel - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
    picture, file = Image.fromarray(levels.T.flip(0).contiguous().numpy()), io.BytesIO()
    picture.putpalette(palette().tobytes())
    picture.save(file, "PNG", optimize=True)
    return data_uri(file.getvalue(), "image/png")


def mel_axes(mel: MelSpectrogram, frames: int, hertz: Sequence[int] = (500, 1000, 2000, 4000)) -> Axes:
    """Seconds and Hz beside a mel spectrogram.

    Args:
        mel: front end that made it.
        frames: its length.
        hertz: frequencies to mark; those out of its range are left out.
    """
    config = mel.config
    low, high = (hertz_to_mel(config[name], "slaney") for name in ("f_min", "f_max"))
    # Bin i is centred on point i + 1 of bins + 2 equally spaced ones, and drawn from i to i + 1.
    step = (high - low) / (config["n_mels"] + 1)
    places = {f: ((hertz_to_mel(f, "slaney") - low) / step - 0.5) / config["n_mels"] for f in hertz}
    seconds = frames * config["hop_length"] / config["sample_rate"]
    whole = range(int(seconds) + 1) if seconds >= 2 else [tenth / 4 for tenth in range(int(seconds * 4) + 1)]
    return Axes(
        x=[(second / seconds, f"{second:g}" if second else "0 s") for second in whole],
        y=[(place, f"{f / 1000:g}k" if f >= 1000 else f"{f} Hz") for f, place in places.items() if 0 <= place <= 1],
    )


def plot(picture: str, axes: Axes) -> str:
    """A picture (HTML) with ticks beside it, which keep their size on every screen."""
    y = "".join(f'<span style="bottom:{100 * place:.2f}%">{escape(text)}</span>' for place, text in axes.y)
    x = "".join(f'<span style="left:{100 * place:.2f}%">{escape(text)}</span>' for place, text in axes.x)
    return (
        f'<div class="plot"><div class="y" aria-hidden="true">{y}</div>'
        f'<div class="picture">{picture}</div>'
        f'<div class="x" aria-hidden="true">{x}</div></div>'
    )


def player(heading: str, label: str, waveform: Tensor, sample_rate: int, picture: str, axes: Axes) -> str:
    """A sound above its spectrogram: a click in the picture plays from there.

    Args:
        heading: HTML.
        label: what it is, for screen readers.
        waveform: (samples,) in [-1, 1].
        sample_rate: in Hz.
        picture: address of its spectrogram.
        axes: of the spectrogram.
    """
    label, seconds = escape(label, quote=True), len(waveform) / sample_rate
    button = f'<button type="button" class="play" aria-label="play {label}"><span></span></button>'
    image = f'<img src="{picture}" alt="mel spectrogram: {label}"><b class="head"></b>'
    sound = f'<audio controls preload="none" src="{audio_uri(waveform, sample_rate)}"></audio>'
    return (
        f'<figure class="player" data-seconds="{seconds:.3f}"><figcaption>{button}<div>{heading}</div></figcaption>'
        f"{plot(image, axes)}{sound}</figure>"
    )


def curve(x: Sequence[float], y: Sequence[float], x_unit: str, window: int = 9) -> str:
    """Values as a faint line and their moving average as a strong one, with axes; y begins at 0.

    Args:
        x: rising.
        y: as many values.
        x_unit: what x counts.
        window: values in the moving average.
    """
    values, places = np.asarray(y, float), np.asarray(x, float) / max(x)
    half = window // 2
    smooth = np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])
    top = nice(1.1 * max(float(np.quantile(values, 0.98)), float(smooth.max())))

    def line(kind: str, heights: np.ndarray) -> str:
        points = zip(1000 * places, 300 * (1 - heights.clip(0, top) / top), strict=True)
        return f'<polyline class="{kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'

    lines = line("faint", values) + line("strong", smooth)
    picture = f'<svg viewBox="0 0 1000 300" preserveAspectRatio="none" role="img" aria-label="curve">{lines}</svg>'
    ticks = [(0.0, f"0 {x_unit}"), *((share, f"{share * max(x):g}") for share in (0.25, 0.5, 0.75, 1))]
    return plot(picture, Axes(ticks, [(share, f"{share * top:.3g}") for share in (0, 0.5, 1)]))


def nice(value: float) -> float:
    """The next larger round number."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9)) * power
    )


def page(title: str, body: str, style: str = "", script: str | None = None) -> str:
    """The whole file.

    Args:
        title: plain text.
        body: HTML.
        style: CSS, after that of ``page.css``.
        script: JavaScript, in the place of ``page.js``.
    """
    here = Path(__file__).parent
    style = (here / "page.css").read_text(encoding="utf-8") + style
    script = (here / "page.js").read_text(encoding="utf-8") if script is None else script
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n<style>\n{style}</style>\n'
        "<noscript><style>.player audio { display: block } .play, .all { display: none }</style></noscript>\n"
        f"</head>\n<body>\n{body}\n<script>\n{script}</script>\n</body>\n</html>\n"
    )

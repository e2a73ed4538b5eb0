"""What gets into a page comes out of it again: sounds, pictures, places on axes."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from transformers.audio_utils import mel_to_hertz

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.reporting.page import audio_uri, curve, mel_axes, nice, page, palette, player, spectrogram_uri


def content(uri: str, kind: str) -> io.BytesIO:
    head, _, data = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(data))


def test_a_sound_keeps_16_bits() -> None:
    waveform = torch.rand(5000) * 2.2 - 1.1
    samples, rate = soundfile.read(content(audio_uri(waveform, 16000), "audio/flac"))
    assert rate == 16000
    np.testing.assert_allclose(samples, waveform.clamp(-1, 1), atol=1.1 / 32768)


def test_a_spectrogram_has_time_to_the_right_and_high_notes_on_top() -> None:
    mel = torch.full((30, 20), -9.0)
    mel[4, 1] = 0.0
    mel[10, 19] = -4.5
    mel[11, 0] = -20.0
    picture = Image.open(content(spectrogram_uri(mel, -9.0, 0.0), "image/png"))
    assert picture.size == (30, 20)
    pixels = np.array(picture.convert("RGB"))
    assert tuple(pixels[20 - 1 - 1, 4]) == tuple(palette()[255])
    assert tuple(pixels[0, 10]) == tuple(palette()[128])
    pixels[18, 4] = pixels[0, 10] = palette()[0]
    assert (pixels == palette()[0]).all()


def test_colours_rise_in_lightness_in_equal_steps() -> None:
    """CIE 1976 L*, as the original's designers did."""
    linear = (palette() / 255.0).astype(float)
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
    steps = np.diff(lightness[::16])
    assert (steps > 0).all()
    assert steps.std() < 0.25 * steps.mean()


def test_frequencies_lie_where_a_tone_is_seen() -> None:
    front_end = MelSpectrogram()
    for hertz in (500, 1000, 2000, 4000):
        tone = torch.sin(2 * torch.pi * hertz * torch.arange(16000) / 16000)[None]
        mel = front_end(tone)[0, 50].exp()
        near = mel.argmax() + torch.arange(-2, 3)
        seen = float((mel[near] * (near + 0.5)).sum() / mel[near].sum()) / 64
        axes = mel_axes(front_end, 100, [hertz])
        assert axes.y[0][0] == pytest.approx(seen, abs=0.5 / 64)
    centre = mel_to_hertz(15.0, "slaney")
    assert centre == pytest.approx(1000)


@pytest.mark.parametrize(
    ("frames", "texts", "last"),
    [(512, ["0 s", "1", "2", "3", "4", "5"], 5 / 5.12), (64, ["0 s", "0.25", "0.5"], 0.5 / 0.64)],
)
def test_seconds(frames: int, texts: list[str], last: float) -> None:
    ticks = mel_axes(MelSpectrogram(), frames).x
    assert [text for _, text in ticks] == texts
    assert ticks[-1][0] == pytest.approx(last)


def test_a_front_end_of_few_hertz_marks_only_what_it_has() -> None:
    front_end = MelSpectrogram(f_max=1500.0, n_mels=16)
    assert [text for _, text in mel_axes(front_end, 100).y] == ["500 Hz", "1k"]


def test_a_curve_begins_at_0_and_stays_within_its_picture() -> None:
    html = curve([10, 20, 40], [2.0, 1.0, 0.5], "steps", window=1)
    faint, strong = re.findall(r'points="([^"]+)"', html)
    points = np.array([pair.split(",") for pair in faint.split()], float)
    assert faint == strong
    np.testing.assert_allclose(points[:, 0], [250, 500, 1000])
    np.testing.assert_allclose((300 - points[:, 1]) / 300, np.array([2, 1, 0.5]) / 2.5, atol=1e-3)
    assert "0 steps" in html
    assert [nice(value) for value in (0.011, 2.0, 7.0, 99.0)] == pytest.approx([0.012, 2.0, 8.0, 100.0])


class Reader(HTMLParser):
    """Notes what is opened and not closed, and every address."""

    void = ("meta", "link", "img", "!doctype")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_one_file_and_shows_any_caption() -> None:
    label = 'a "dog" & <b>'
    sound = player(
        "name",
        label,
        torch.zeros(1600),
        16000,
        spectrogram_uri(torch.zeros(10, 4), -1, 0),
        mel_axes(MelSpectrogram(), 10),
    )
    html = page("A < B", f"<main>{sound}</main>")
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert "<b>" not in re.sub(r'<b class="head">', "", html)
    assert len(reader.addresses) == 3
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "http" not in html
    assert "<title>A &lt; B</title>" in html
    assert "prefers-color-scheme: dark" in html

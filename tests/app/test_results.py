"""The results have a player and a picture for each sound, and refer to nothing outside."""

from __future__ import annotations

import io
import re
from base64 import b64decode

import soundfile
import torch
from PIL import Image

from consistency_tta.app.comparison import Column
from consistency_tta.app.results import render_columns, timing
from consistency_tta.pipeline import TextToAudioOutput


def sounds(waveform: torch.Tensor, rate: int = 16000, queries: int = 1) -> TextToAudioOutput:
    return TextToAudioOutput(waveform, rate, torch.zeros(1), queries, {"latents": 0.25, "decoders": 0.5})


def test_each_sound_has_a_player_and_a_picture() -> None:
    waveform = torch.rand(2, 16000) - 0.5
    columns = [Column("Student", "a/<b>", sounds=sounds(waveform)), Column("Teacher", "c", status="sampling")]
    html = render_columns(columns, 'a "dog" & <i>cat</i>')
    addresses = re.findall(r'src="([^"]*)"', html)
    pictures, players = (
        [b64decode(one.partition(",")[2]) for one in addresses if kind in one] for kind in ("png", "flac")
    )
    assert len(addresses) == 4
    assert all(Image.open(io.BytesIO(picture)).size == (640, 300) for picture in pictures)
    for player, expected in zip(players, waveform, strict=True):
        decoded, rate = soundfile.read(io.BytesIO(player), dtype="float32")
        assert rate == 16000
        torch.testing.assert_close(torch.as_tensor(decoded), expected, atol=2**-15, rtol=0)
    assert "<i>" not in html
    assert "<b>" not in html
    assert "sampling" in html


def test_one_colour_scale_for_all_models() -> None:
    loud = torch.rand(1, 16000) - 0.5
    alone, paired = (
        re.findall(r'<img src="([^"]*)"', render_columns([Column("", "", sounds=sounds(one)) for one in models], ""))
        for models in ([0.1 * loud], [0.1 * loud, loud])
    )
    assert paired[0] != alone[0]
    assert paired[0] != paired[1]


def test_the_time_is_that_of_all_sounds() -> None:
    first, second = timing(sounds(torch.zeros(4, 8000), queries=100))
    assert first == "100 queries each, 0.75 s for 2.00 s of sound"
    assert "0.25 s" in second
    assert "0.50 s" in second

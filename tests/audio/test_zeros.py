import numpy as np
import pytest
import torch

from consistency_tta.audio.zeros import longest_zeros, zeros_report


@pytest.mark.parametrize(("start", "stop"), [(0, 400), (300, 1000), (200, 600), (0, 1000), (500, 500)])
def test_the_longest_row_of_zeros(start: int, stop: int) -> None:
    waveform = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1, 1000))
    waveform[start:stop] = 0
    waveform[[100, 150]] = 0
    found, length = longest_zeros(waveform)
    assert length == max(stop - start, 1)
    assert (waveform[found : found + length] == 0).all()


def test_half_a_sound_of_zeros_is_reported_and_a_short_pause_is_not() -> None:
    waveform = torch.ones(16000)
    waveform[8000:] = 0
    assert "0.50 s of its 1.00 s" in zeros_report(waveform, 16000)
    waveform[8000:12000] = 1
    assert zeros_report(waveform, 16000) == ""

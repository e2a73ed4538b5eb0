import numpy as np
import pytest
import torch

from consistency_tta.datamodules.mixing import a_weighting, loudness, mix_captions, mix_waveforms


def tone(frequency: float, level: float = 0.5, samples: int = 16000) -> torch.Tensor:
    return level * torch.sin(2 * np.pi * frequency * torch.arange(samples) / 16000)


@pytest.mark.parametrize(
    ("band", "decibel"), [(-15, -39.4), (-9, -16.1), (-3, -3.2), (0, 0.0), (3, 1.2), (6, 1.0), (9, -1.1)]
)
def test_a_weighting_is_the_standards(band: int, decibel: float) -> None:
    # IEC 61672-1, table of the A-weighting at 1000 Hz x 10^(band / 10), to a tenth of a dB
    curve = a_weighting(16000, 160000)  # bins of 0.1 Hz
    assert curve[round(10 * 1000 * 10 ** (band / 10))].item() == pytest.approx(decibel, abs=0.1)


def test_loudness_follows_level_and_ear() -> None:
    assert loudness(tone(1000, 0.1), 16000) == pytest.approx(loudness(tone(1000, 1.0), 16000) - 20, abs=0.01)
    assert loudness(tone(125), 16000) == pytest.approx(loudness(tone(1000), 16000) - 16.1, abs=0.3)


def test_loudness_is_that_of_the_loudest_moment() -> None:
    burst = torch.cat([torch.zeros(32000), tone(1000), torch.zeros(32000)])
    assert loudness(burst, 16000) == pytest.approx(loudness(tone(1000), 16000), abs=0.01)
    assert loudness(torch.zeros(100), 16000) == -80


def level(waveform: torch.Tensor, frequency: int) -> float:
    return torch.fft.rfft(waveform).abs()[frequency].item()


def test_both_are_equally_loud() -> None:
    mixture = mix_waveforms(tone(1000, 0.5), tone(2000, 0.05), 16000)
    # 2 kHz is 1.2 dB louder to the ear at one amplitude
    assert 20 * np.log10(level(mixture, 1000) / level(mixture, 2000)) == pytest.approx(1.2, abs=0.1)
    assert mixture.abs().max().item() == pytest.approx(0.5)


def test_mixing_is_symmetric() -> None:
    first, second = torch.randn(16000, generator=torch.Generator().manual_seed(0)), tone(300)
    torch.testing.assert_close(mix_waveforms(first, second, 16000), mix_waveforms(second, first, 16000))


def test_opposites_do_not_cancel() -> None:
    mixture = mix_waveforms(tone(500), -tone(500), 16000, peak=0.3)
    torch.testing.assert_close(mixture, tone(500) * 0.6, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("A dog barks", "A rooster crows", "A dog barks and a rooster crows"),
        ("A dog barks.", " Rain falls. ", "A dog barks and rain falls"),
        ("A dog barks", "I hear rain", "A dog barks and I hear rain"),
        ("A dog barks", "I'm hearing rain", "A dog barks and I'm hearing rain"),
        ("A dog barks", "TV noise", "A dog barks and TV noise"),
        ("A dog barks", "DJs scratch", "A dog barks and DJs scratch"),
        ("A dog barks", "rain", "A dog barks and rain"),
        ("A dog barks", "It's raining", "A dog barks and it's raining"),
    ],
)
def test_captions(first: str, second: str, both: str) -> None:
    assert mix_captions(first, second) == both

import numpy as np
import pytest
import scipy.signal
import torch

from consistency_tta.audio.resample import Resample, resample
from consistency_tta.runtime.errors import ConfigurationError


def tone(frequency: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * np.pi * frequency * torch.arange(int(rate * seconds), dtype=torch.float64) / rate)


def middle(waveform: torch.Tensor) -> torch.Tensor:
    quarter = waveform.shape[-1] // 4
    return waveform[..., quarter:-quarter]


def decibel(ratio: float) -> float:
    return 20 * np.log10(ratio + 1e-30)


RATES = [(44100, 16000), (48000, 16000), (22050, 16000), (8000, 16000), (16000, 48000), (16000, 44100), (11025, 16000)]


@pytest.mark.parametrize(("orig", "new"), RATES)
def test_passband_is_unchanged(orig: int, new: int) -> None:
    # a sweep of tones over 0..90 % of the lower Nyquist frequency, each against the same tone made at the new rate
    nyquist = min(orig, new) / 2
    convert = Resample(orig, new)
    for frequency in np.linspace(0.01, 0.9, 12) * nyquist:
        error = middle(convert(tone(frequency, orig)) - tone(frequency, new))
        assert decibel(error.abs().max().item()) < -85, frequency


@pytest.mark.parametrize(("orig", "new"), [(44100, 16000), (48000, 16000), (44100, 8000), (16000, 12000)])
def test_aliases_are_rejected(orig: int, new: int) -> None:
    convert = Resample(orig, new)
    for frequency in np.linspace(new / 2 * 1.01, orig / 2 * 0.99, 12):
        assert decibel(middle(convert(tone(frequency, orig))).abs().max().item()) < -90, frequency


@pytest.mark.parametrize(("orig", "new"), [(44100, 16000), (16000, 48000), (48000, 16000), (22050, 16000)])
def test_agrees_with_scipy(orig: int, new: int) -> None:
    # independent design and independent polyphase code: firwin + resample_poly, at the same cutoff and window
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((2, orig // 2)))
    divisor = np.gcd(orig, new)
    up, down = int(new // divisor), int(orig // divisor)
    cutoff = 1 - (100 - 7.95) / (2.285 * 256 * np.pi)
    half = int(np.ceil(64 * max(up, down) / cutoff))
    taps = scipy.signal.firwin(2 * half + 1, cutoff / max(up, down), window=("kaiser", 0.1102 * (100 - 8.7)))
    expected = scipy.signal.resample_poly(noise.numpy(), up, down, axis=-1, window=taps)
    resampled = Resample(orig, new)(noise)
    assert resampled.shape == expected.shape
    # The windows differ by a fraction of a tap, as firwin's length is a whole number: hence -70 dB and not less.
    assert np.abs(resampled.numpy() - expected).max() < 3e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("orig", "new"), [(48000, 16000), (16000, 48000), (24000, 16000), (32000, 16000), (96000, 16000)]
)
def test_periods_computed_at_once_are_those_computed_alone(
    orig: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = Resample(orig, new)
    monkeypatch.setattr("consistency_tta.audio.resample.BLOCK_SAMPLES", 1)
    alone = Resample(orig, new)
    assert len(several.kernel) >= 16 > len(alone.kernel)
    generator = torch.Generator().manual_seed(0)
    for samples in (1, 2, 47, 48, 49, 1000, 4935, 3 * orig):
        waveform = torch.randn(2, samples, generator=generator)
        expected = alone(waveform)
        # Sums of a single sound may be taken in another order.
        torch.testing.assert_close(several(waveform), expected, rtol=0, atol=4e-6)
        torch.testing.assert_close(several(waveform[:1]), expected[:1], rtol=0, atol=4e-6)
        torch.testing.assert_close(several(waveform.double()), alone(waveform.double()), rtol=0, atol=1e-13)


def test_any_length_and_leading_shape() -> None:
    convert = Resample(44100, 16000)
    for samples in (1, 2, 440, 441, 442, 44100):
        assert convert(torch.ones(2, 3, samples)).shape == (2, 3, -(-samples * 160 // 441))


def test_same_rate_is_the_identity() -> None:
    waveform = torch.randn(2, 100)
    assert torch.equal(Resample(16000, 16000)(waveform), waveform)


def test_differentiable() -> None:
    waveform = torch.randn(1, 60, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Resample(3, 2).double(), waveform)
    assert torch.autograd.gradcheck(lambda x: resample(x, 3, 2), waveform)


def test_coprime_rates_stay_small_and_in_tune() -> None:
    odd = Resample(44101, 16000)
    assert odd.kernel.numel() < 10**7
    # Within one part in a million: at most 0.02 samples of drift in one second.
    assert abs(odd.up / odd.down / (16000 / 44101) - 1) < 1e-6
    resampled = odd(tone(440, 44101))
    error = middle(resampled - tone(440, 16000)[: resampled.shape[-1]])
    assert error.abs().max() < 5e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_function_is_the_module_bit_for_bit_also_under_autocast(dtype: torch.dtype) -> None:
    waveform = torch.randn(2, 500, dtype=dtype)
    expected = Resample(44100, 16000)(waveform)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resample(waveform, 44100, 16000), expected)
        assert resample(waveform, 16000, 16000) is waveform
    half = waveform.bfloat16()
    assert torch.equal(resample(half, 44100, 16000), Resample(44100, 16000)(half.float()))


def test_a_filter_made_in_inference_mode_serves_training() -> None:
    rates = 7919, 7907  # used nowhere else, or the filter would be there already
    with torch.inference_mode():
        resample(torch.randn(1, 200), *rates)
    waveform = torch.randn(1, 200, requires_grad=True)
    resample(waveform, *rates).sum().backward()
    assert waveform.grad.abs().max() > 0


def test_not_in_the_state_dict() -> None:
    assert Resample(44100, 16000).state_dict() == {}


@pytest.mark.parametrize("rates", [(0, 16000), (16000, -1)])
def test_refuses_impossible_rates(rates: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError, match=str(min(rates))):
        Resample(*rates)
    with pytest.raises(ConfigurationError):
        resample(torch.zeros(1, 9), -1, -1)

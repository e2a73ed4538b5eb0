import pytest
import scipy.signal
import torch

from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError

SAMPLE_RATE = 16_000


def fed(generated, real, sample_rate=SAMPLE_RATE, **arguments):
    metric = LogSpectralDistance(sample_rate, **arguments)
    metric.update(generated, real)
    return metric.compute().item()


@pytest.fixture
def sounds():
    return 0.3 * torch.randn(3, 8000), 0.1 * torch.randn(3, 8000)


def test_a_gain_is_its_decibels(sounds):
    """20 dB are 2 in units of 10 dB."""
    assert fed(0.1 * sounds[0], sounds[0]) == pytest.approx(2, rel=1e-6)
    assert fed(sounds[0], -sounds[0]) == pytest.approx(0, abs=1e-6)


def test_equal_pairs_are_at_zero_silence_as_well(sounds):
    assert fed(sounds[0], sounds[0]) == 0
    silence = torch.zeros(2, 8000)
    assert fed(silence, silence) == 0
    assert fed(sounds[0][:2], silence) == pytest.approx(fed(silence, sounds[0][:2]))
    assert fed(1e-6 * sounds[0], 0 * sounds[0]) < 1e-6  # inaudible: below the floor


def test_it_grows_with_noise_and_a_shift(sounds):
    real = scipy.signal.lfilter([1], [1, -0.99], sounds[0])
    real = torch.from_numpy(real).float()
    values = [fed(real + level * sounds[1], real) for level in (0.0, 0.01, 0.1, 1.0)]
    assert values == sorted(values)
    assert values[1] > 0.005
    assert fed(real.roll(800, 1), real) > values[1]


def test_errors_say_what_to_do(sounds):
    with pytest.raises(ConfigurationError, match="floor"):
        LogSpectralDistance(SAMPLE_RATE, floor=0)
    with pytest.raises(ShapeError, match="7999"):
        fed(sounds[0], sounds[1][:, 1:])
    with pytest.raises(ShapeError, match="371"):
        fed(sounds[0][:, :371], sounds[1][:, :371])
    with pytest.raises(DataError):
        fed(sounds[0] * torch.nan, sounds[1])


def test_integers_empty_batches_and_a_rate_as_text_are_refused(sounds):
    with pytest.raises(DataError, match="int16"):
        fed((sounds[0] * 1000).to(torch.int16), (sounds[1] * 1000).to(torch.int16))
    with pytest.raises(ShapeError, match="0, 8000"):
        fed(sounds[0][:0], sounds[1][:0])
    with pytest.raises(ConfigurationError, match="'16000'"):
        LogSpectralDistance("16000")

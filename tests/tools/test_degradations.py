import pytest
import torch

from tools import degradations


def test_degradations_are_what_they_say():
    waveform = torch.randn(3, 16_000)
    noise = degradations.degraded(waveform, "noise, dB", 15) - waveform
    ratio = 10 * (waveform.square().mean(1) / noise.square().mean(1)).log10()
    torch.testing.assert_close(ratio, torch.full((3,), 15.0), rtol=0.02, atol=0)
    power = torch.fft.rfft(degradations.degraded(waveform, "low-pass, kHz", 2)).abs().square()
    assert power[:, 2000:].sum() < 1e-6 * power[:, :2000].sum()
    torch.testing.assert_close(power[:, :2000], torch.fft.rfft(waveform).abs().square()[:, :2000], rtol=1e-2, atol=1e-2)
    for kind, before in (("delay, s", torch.zeros(3, 8_000)), ("rotation, s", waveform[:, 8_000:])):
        shifted = degradations.degraded(waveform, kind, 0.5)
        torch.testing.assert_close(shifted, torch.cat([before, waveform[:, :8_000]], dim=1), rtol=0, atol=0)


@pytest.mark.parametrize(("share", "changed"), [(0.25, 2), (0.5, 5), (1.0, 10)])
def test_an_exchange_moves_whole_classes(share, changed):
    labels = [f"class {number}" for number in range(10) for _ in range(3)]
    order = degradations.exchanged(labels, share).tolist()
    assert sorted(order) == list(range(30))
    others = [(label, labels[place]) for label, place in zip(labels, order, strict=True) if label != labels[place]]
    assert len(others) == 3 * changed
    assert len(set(others)) == changed


@pytest.mark.parametrize(("share", "lost"), [(0.25, 2), (0.5, 5), (0.9, 9)])
def test_classes_that_are_replaced_occur_no_more(share, lost):
    labels = [f"class {number}" for number in range(10) for _ in range(3)]
    order = degradations.shuffled(labels, "replaced", share).tolist()
    left = [labels[place] for place in order]
    assert len(set(left)) == 10 - lost
    assert sum(one != other for one, other in zip(left, labels, strict=True)) == 3 * lost
    assert len(set(order)) == 3 * (10 - lost)  # whole classes

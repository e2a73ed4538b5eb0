"""Ways to make sounds, and sets of them, worse step by step; :mod:`tools.metric_behaviour` describes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
#: Degradations and their steps, from mild to strong.
STEPS: dict[str, tuple[float, ...]] = {
    "noise, dB": (30, 15, 0),
    "low-pass, kHz": (4, 2, 1),
    "delay, s": (0.5, 1.5, 4),
    "rotation, s": (0.1, 0.5, 2),
    "exchanged": (0.25, 0.5, 1),
    "replaced": (0.25, 0.5, 0.9),
}


def degraded(waveform: Tensor, kind: str, step: float) -> Tensor:
    """Waveforms (N, samples), each worse by one step of a kind."""
    if kind.startswith("noise"):
        noise = torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0))
        return waveform + noise * waveform.square().mean(1, keepdim=True).sqrt() * 10 ** (-step / 20)
    if kind.startswith("low-pass"):
        spectrum = torch.fft.rfft(waveform)
        kept = torch.fft.rfftfreq(waveform.shape[1], 1 / SAMPLE_RATE) < 1000 * step
        return torch.fft.irfft(spectrum * kept, waveform.shape[1])
    later = waveform.roll(round(step * SAMPLE_RATE), 1)
    if kind.startswith("delay"):
        later[:, : round(step * SAMPLE_RATE)] = 0
    return later


def shuffled(labels: Sequence[str], kind: str, share: float) -> Tensor:
    """Clips (N,) in place of those of N labels, which lie class by class, equally many of each."""
    return (exchanged if kind == "exchanged" else replaced)(labels, share)


def exchanged(labels: Sequence[str], share: float) -> Tensor:
    """An order (N,) of clips in which a share of the classes have changed places, each with another one."""
    moved, order = some_of(labels, share), torch.arange(len(labels))
    places = torch.tensor([place for place, label in enumerate(labels) if label in moved])
    order[places] = places.roll(len(places) // len(moved))  # by one class: clips lie class by class
    return order


def replaced(labels: Sequence[str], share: float) -> Tensor:
    """Clips (N,), some of them several times, in which a share of the classes no longer occur."""
    lost, order = some_of(labels, share), torch.arange(len(labels)).view(len(set(labels)), -1)
    classes = sorted(set(labels))
    kept = [place for place, label in enumerate(classes) if label not in lost]
    for number, label in enumerate(lost):
        order[classes.index(label)] = order[kept[number % len(kept)]]
    return order.flatten()


def some_of(labels: Sequence[str], share: float) -> list[str]:
    """A share of the classes, evenly spread."""
    classes = sorted(set(labels))
    return [classes[int(place)] for place in torch.linspace(0, len(classes) - 1, round(share * len(classes)))]

"""Copies of sounds: found though they are louder, inverted, shifted in time, or noisier than the original.

Two sounds are compared by the largest magnitude of their normalised cross-correlation over all shifts, 1 for copies.
Its square is the share of one sound's power that the other explains. Source: J. P. Lewis, "Fast Normalized
Cross-Correlation", 1995, http://scribblethink.org/Work/nvisionInterface/nip.html, computed in the frequency domain.

To compare each sound with all others, each has a descriptor of a fixed size: the magnitudes of its spectrum, which
neither gain, sign nor shift changes, as a count sketch, which keeps cosines. Source: Moses Charikar, Kevin Chen, Martin
Farach-Colton, "Finding Frequent Items in Data Streams", 2002, https://doi.org/10.1007/3-540-45465-9_59.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

#: Correlations of copies: the difference has at most 6 % of the power.
COPY = 0.97
#: Correlations of parts that are copied: shorter sounds are alike by chance more easily.
COPIED_PART = 0.99
#: Parts into which a sound is divided, and the share of them from which a copy is reported.
PARTS, SHARE = 16, 0.25
#: Sketches in a descriptor, and numbers in each; several, as loud tones may share a place in one of them.
SKETCHES, WIDTH = 4, 256
#: Descriptors compared with all others at a time.
ROWS = 512


def correlation(first: Tensor, second: Tensor) -> tuple[float, int]:
    """The largest magnitude of the normalised cross-correlation of two waveforms (samples,), and the shift.

    Returns:
        A number in [0, 1], 0 if one of them is constant; and by how many samples the first is later than the second.
    """
    # float32, in half the time, is exact to 1e-6 once the mean is gone.
    first, second = ((side.double() - side.double().mean()).float() for side in (first, second))
    scale = float(first.double().norm() * second.double().norm())
    if scale == 0:
        return 0.0, 0
    size = 2 * len(first)
    products = torch.fft.irfft(torch.fft.rfft(first, size) * torch.fft.rfft(second, size).conj(), size)
    shift = int(products.abs().argmax())
    return min(1.0, float(products[shift].abs()) / scale), shift - size if shift >= len(first) else shift


def copied_share(first: Tensor, second: Tensor, shift: int = 0) -> float:
    """The share of the parts of ``first`` (samples,) that are in ``second`` (samples,), too, at one shift of all.

    Silent parts do not count. The result is 0 if fewer than two parts are left.
    """
    moved = torch.zeros_like(second)
    if shift >= 0:
        moved[shift:] = second[: len(second) - shift]
    else:
        moved[:shift] = second[-shift:]
    length = max(1, len(first) // PARTS)
    sides = [side[: len(side) // length * length].double().unflatten(0, (-1, length)) for side in (first, moved)]
    sides = [side - side.mean(1, keepdim=True) for side in sides]
    products, powers = (sides[0] * sides[1]).sum(1), [side.square().sum(1) for side in sides]
    audible = powers[0] > 1e-4 * powers[0].mean()
    if audible.sum() < 2:
        return 0.0
    cosines = products.abs() / (powers[0] * powers[1]).sqrt().clamp(min=1e-300)
    return float((cosines[audible] > COPIED_PART).double().mean())


def descriptor(waveform: Tensor) -> Tensor:
    """A unit vector (SKETCHES * WIDTH,) float32, equal for equal sounds (samples,); zero for a constant one."""
    magnitudes = torch.fft.rfft((waveform.double() - waveform.double().mean()).float()).abs()
    signs, places = _hashes(len(magnitudes))
    sums = torch.bincount(places.flatten(), weights=(magnitudes * signs).flatten(), minlength=SKETCHES * WIDTH)
    return torch.nn.functional.normalize(sums.double(), dim=0).float()


@lru_cache(maxsize=2)  # the sounds of an evaluation have one length, and drawing these takes longer than their use
def _hashes(size: int) -> tuple[Tensor, Tensor]:
    """Signs (SKETCHES, size) of the numbers of a spectrum, and their places in the descriptor; always the same."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(2, (SKETCHES, size), generator=generator) * 2.0 - 1
    places = torch.randint(WIDTH, (SKETCHES, size), generator=generator)
    return signs, places + WIDTH * torch.arange(SKETCHES)[:, None]


def copies_among(first: Tensor, second: Tensor) -> list[list[int]]:
    """For each row of descriptors (N, D) the rows of others (M, D) that are copies of it."""
    found: list[list[int]] = []
    for rows in first.split(ROWS):
        found += [row.nonzero()[:, 0].tolist() for row in rows @ second.T > COPY]
    return found


def groups(alike: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups of two or more among N sounds, by the copies that each has: each is in the first group that has it."""
    seen: set[int] = set()
    found = []
    for number, others in enumerate(alike):
        group = [other for other in sorted({number, *others}) if other not in seen]
        if number not in seen and len(group) > 1:
            found.append(group)
            seen.update(group)
    return found

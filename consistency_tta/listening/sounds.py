"""The sounds of one caption, alike in all that is not the system's work: rate, length and loudness."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.audio.resample import Resample
from consistency_tta.audio.sound_file import BadClip, audio_info, read_whole
from consistency_tta.listening.loudness import integrated_loudness

#: Cutoff of the low-pass anchor in Hz: Recommendation ITU-R BS.1534-3, "Method for the subjective assessment of
#: intermediate quality level of audio systems", 2015, https://www.itu.int/rec/R-REC-BS.1534.
ANCHOR_HERTZ = 3500
#: Length of the fade where a sound is cut, in seconds.
FADE = 0.01
#: Seconds of a sound that are cut away without a word.
MUCH = 0.5


def lowest_rate(files: dict[str, Path]) -> int:
    """The lowest sample rate in Hz of files, by system, as their headers have it.

    Raises:
        ValueError: a file cannot be used, with its name and system.
    """
    rates = []
    for system, file in files.items():
        with _named(system, file):
            rates.append(audio_info(file)[0])
    return min(rates)


def read(files: dict[str, Path], sample_rate: int) -> dict[str, Tensor]:
    """Waveforms (samples,) of one rate, whole.

    Args:
        files: by system.
        sample_rate: wanted, in Hz.

    Raises:
        ValueError: a file is missing, unreadable, empty, truncated, or has samples that are not finite; with its name
            and system.
    """
    sounds = {}
    for system, file in files.items():
        with _named(system, file):
            sound = read_whole(file)
        sounds[system] = Resample(sound.sample_rate, sample_rate)(sound.waveform)
    return sounds


def alike_in_length(sounds: dict[str, Tensor], sample_rate: int, seconds: float | None = None) -> dict[str, Tensor]:
    """Sounds cut to the shortest, and to ``seconds`` at most: their length may not tell who made them."""
    lengths = [len(waveform) for waveform in sounds.values()]
    length = min(lengths if seconds is None else [*lengths, round(seconds * sample_rate)])
    return {system: cut(waveform, length, sample_rate) for system, waveform in sounds.items()}


def taken_away(sounds: dict[str, Tensor], sample_rate: int, seconds: float | None = None) -> str:
    """Whose sound makes :func:`alike_in_length` take much of another's away, and how much; empty if nobody's does."""
    held = {system: min(len(waveform) / sample_rate, seconds or math.inf) for system, waveform in sounds.items()}
    shortest, longest = min(held, key=held.__getitem__), max(held, key=held.__getitem__)
    if held[longest] - held[shortest] <= MUCH:
        return ""
    return f"{held[shortest]:.2f} s of {shortest}, {held[longest]:.2f} s of {longest}"


def cut(waveform: Tensor, length: int, sample_rate: int) -> Tensor:
    """The first samples, faded out where more would have followed."""
    if len(waveform) <= length:
        return waveform
    waveform = waveform[:length].clone()
    fade = min(length, math.ceil(FADE * sample_rate))
    waveform[length - fade :] *= torch.linspace(1, 0, fade)
    return waveform


def low_pass(waveform: Tensor, sample_rate: int, cutoff: float = ANCHOR_HERTZ) -> Tensor:
    """(samples,) without what lies above ``cutoff`` Hz: 90 % of it are kept whole.

    Raises:
        ValueError: if the sound has nothing above the cutoff to be taken away.
    """
    if cutoff >= sample_rate / 2:
        raise ValueError(
            f"expected a sample rate above {2 * cutoff:g} Hz for the low-pass anchor, got {sample_rate} Hz: leave it "
            "out"
        )
    narrow = Resample(sample_rate, round(2 * cutoff))(waveform)
    return Resample(round(2 * cutoff), sample_rate)(narrow)[: len(waveform)]


def match_loudness(sounds: dict[str, Tensor], sample_rate: int, target: float) -> dict[str, Tensor]:
    """All sounds at one loudness: ``target`` in LUFS, or what the one with the highest peak reaches without clipping.

    What is silent (:func:`integrated_loudness` is minus infinity) stays as it is.
    """
    loudness = {system: integrated_loudness(waveform, sample_rate) for system, waveform in sounds.items()}
    heard = [system for system in sounds if loudness[system] > -math.inf]
    room = [loudness[system] - 20 * math.log10(sounds[system].abs().max().item()) for system in heard]
    common = min([target, *room])
    return sounds | {system: sounds[system] * 10 ** ((common - loudness[system]) / 20) for system in heard}


@contextmanager
def _named(system: str, file: Path) -> Iterator[None]:
    """A bad file's name and system in the error."""
    try:
        yield
    except BadClip as bad:
        raise ValueError(
            f"system {system}, {file}: {bad}: replace the file, or remove it and its clip is left out"
        ) from None

"""The sounds of one caption, made equal in sample rate, length and loudness."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.audio.resample import Resample
from consistency_tta.audio.sound_file import BadClip, audio_info, read_whole, warn_of_cancelling
from consistency_tta.listening.clips import ListeningClip
from consistency_tta.listening.loudness import integrated_loudness
from consistency_tta.runtime.errors import DataError

#: Cutoff of the low-pass anchor in Hz: Recommendation ITU-R BS.1534-3, "Method for the subjective assessment of
#: intermediate quality level of audio systems", 2015, https://www.itu.int/rec/R-REC-BS.1534.
ANCHOR_HERTZ = 3500
#: Length of the fade where a sound is cut, in seconds.
FADE = 0.01
#: A cut of more seconds than this is warned of.
NOTABLE_CUT = 0.5


def lowest_rate(files: dict[str, Path]) -> int:
    """The lowest sample rate in Hz of files, by system, as their headers have it.

    Raises:
        DataError: a file cannot be used; the message names it and its system.
    """
    rates = []
    for system, file in files.items():
        with _named(system, file):
            rates.append(audio_info(file)[0])
    return min(rates)


def read(files: dict[str, Path], sample_rate: int) -> dict[str, Tensor]:
    """Waveforms (samples,) of one sample rate, uncut.

    Args:
        files: by system.
        sample_rate: of the waveforms, in Hz.

    Raises:
        DataError: a file is missing, unreadable, empty, truncated, or has samples that are not finite; the message
            names it and its system.
    """
    sounds = {}
    for system, file in files.items():
        with _named(system, file):
            sound = read_whole(file)
        warn_of_cancelling(file, sound)
        sounds[system] = Resample(sound.sample_rate, sample_rate)(sound.waveform)
    return sounds


def readable(chosen: Sequence[ListeningClip], spare: Sequence[ListeningClip]) -> tuple[list[ListeningClip], list[str]]:
    """Clips whose sounds can all be used: the chosen ones, and spare ones in the places of others.

    Returns:
        The clips, fewer than chosen if too few are spare, and why clips are left out.
    """
    clips: list[ListeningClip] = []
    faults: list[str] = []
    others = iter(spare)
    for clip in chosen:
        candidate: ListeningClip | None = clip
        while candidate is not None:
            try:
                for system, file in candidate.files.items():
                    with _named(system, file):
                        read_whole(file)
            except DataError as error:
                faults.append(str(error))
                candidate = next(others, None)
            else:
                clips.append(candidate)
                break
    return clips, faults


def cut_to_shortest(sounds: dict[str, Tensor], sample_rate: int, seconds: float | None = None) -> dict[str, Tensor]:
    """Sounds cut to the shortest, and to ``seconds`` at most: their lengths must not reveal the systems."""
    lengths = [len(waveform) for waveform in sounds.values()]
    length = min(lengths if seconds is None else [*lengths, round(seconds * sample_rate)])
    return {system: cut(waveform, length, sample_rate) for system, waveform in sounds.items()}


def lost_to_cutting(sounds: dict[str, Tensor], sample_rate: int, seconds: float | None = None) -> str:
    """The shortest and longest sound, if :func:`cut_to_shortest` cuts more than :data:`NOTABLE_CUT`; else nothing."""
    kept = {system: min(len(waveform) / sample_rate, seconds or math.inf) for system, waveform in sounds.items()}
    shortest, longest = min(kept, key=kept.__getitem__), max(kept, key=kept.__getitem__)
    if kept[longest] - kept[shortest] <= NOTABLE_CUT:
        return ""
    return f"{kept[shortest]:.2f} s of {shortest}, {kept[longest]:.2f} s of {longest}"


def cut(waveform: Tensor, length: int, sample_rate: int) -> Tensor:
    """The first samples, faded out if any are cut off."""
    if len(waveform) <= length:
        return waveform
    waveform = waveform[:length].clone()
    fade = min(length, math.ceil(FADE * sample_rate))
    waveform[length - fade :] *= torch.linspace(1, 0, fade)
    return waveform


def low_pass(waveform: Tensor, sample_rate: int, cutoff: float = ANCHOR_HERTZ) -> Tensor:
    """(samples,) without what lies above ``cutoff`` Hz; the passband is flat up to 90 % of it.

    Raises:
        DataError: the sample rate is too low for the sound to have anything above the cutoff.
    """
    if cutoff >= sample_rate / 2:
        raise DataError(
            f"expected a sample rate above {2 * cutoff:g} Hz for the low-pass anchor, got {sample_rate} Hz: leave it "
            "out"
        )
    narrow = Resample(sample_rate, round(2 * cutoff))(waveform)
    return Resample(round(2 * cutoff), sample_rate)(narrow)[: len(waveform)]


def match_loudness(sounds: dict[str, Tensor], sample_rate: int, target: float) -> dict[str, Tensor]:
    """All sounds at one loudness: ``target`` in LUFS, or less where a sound would clip.

    A silent sound, whose :func:`integrated_loudness` is minus infinity, stays as it is.
    """
    loudness = {system: integrated_loudness(waveform, sample_rate) for system, waveform in sounds.items()}
    audible = [system for system in sounds if loudness[system] > -math.inf]
    room = [loudness[system] - 20 * math.log10(sounds[system].abs().max().item()) for system in audible]
    common = min([target, *room])
    return sounds | {system: sounds[system] * 10 ** ((common - loudness[system]) / 20) for system in audible}


@contextmanager
def _named(system: str, file: Path) -> Iterator[None]:
    """Name a bad file and its system in the error."""
    try:
        yield
    except BadClip as bad:
        raise DataError(
            f"system {system}, {file}: {bad}: replace the file, or remove it and its clip is left out"
        ) from None

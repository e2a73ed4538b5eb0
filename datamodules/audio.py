"""From an audio file of any rate and channel count to a waveform of the model's rate and length.

The steps are TANGO's (D. Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion
Model", 2023, https://arxiv.org/abs/2304.13731): mono, resampled, mean removed, peak normalised, cut or padded.
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from consistency_tta.resample import Resample

#: A waveform whose samples, its mean removed, stay below this (-80 dB of full scale) is silent.
SILENCE_PEAK = 1e-4

#: The largest sample that is a sound's, a million times full scale: squares and sums of what is beyond overflow.
LARGEST = 1e6


class Fault(StrEnum):
    """What can be wrong with a clip."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_SHORT = "too short"
    NOT_FINITE = "not finite"
    SILENT = "silent"


class BadClip(ValueError):  # noqa: N818 - a finding, counted or listed, before it is an error
    """A clip that cannot be used.

    Args:
        fault: of which kind.
        detail: what was found, for people.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail

    def __reduce__(self) -> tuple:
        return type(self), (self.fault, self.detail)  # so that it comes out of a worker process whole


def audio_info(path: Path, min_seconds: float = 0.0) -> tuple[int, int, int]:
    """Sample rate in Hz, samples and channels, from the file's header alone.

    Raises:
        BadClip: if it is missing, unreadable or shorter than ``min_seconds``.
    """
    if not path.is_file():
        raise BadClip(Fault.MISSING, f"no file {path}")
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise BadClip(Fault.UNREADABLE, str(error)) from error
    if not info.frames:
        raise BadClip(Fault.TOO_SHORT, "no samples in the file, expected some")
    if info.frames < min_seconds * info.samplerate:
        raise BadClip(Fault.TOO_SHORT, f"{info.frames / info.samplerate:.3f} s, expected at least {min_seconds} s")
    return info.samplerate, info.frames, info.channels


def missing_bytes(path: Path) -> int:
    """How many bytes of samples a WAV file lacks of what its header says; 0 for other files.

    The decoder takes what is left for the whole. Lengths from 2 GB less 64 kB on are what programs write into a pipe,
    whose length they do not know; of RF64 files the length is in a chunk of its own.
    """
    with path.open("rb") as file:
        head, wide = file.read(12), 0
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return 0
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                size = wide or (0 if size >= 0x7FFF0000 else size)
                return max(0, size - (path.stat().st_size - file.tell()))
            content = file.read(size + size % 2)
            if chunk[:4] == b"ds64":
                wide = int.from_bytes(content[8:16], "little")
    return 0


def decode(path: Path, start: int = 0, frames: int = -1) -> tuple[Tensor, int]:
    """Read a file, or a part of it, as mono.

    Args:
        path: of the file.
        start: first sample to read, at the file's rate.
        frames: how many samples to read; -1 for all.

    Returns:
        Waveform (samples,) float32, the mean of the channels, and the sample rate in Hz.

    Raises:
        BadClip: if it is unreadable or has samples that are not finite, or so large that sums of them would not be.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            file.seek(start)
            samples, rate = file.read(frames, dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, OSError, RuntimeError, MemoryError) as error:
        raise BadClip(Fault.UNREADABLE, str(error)) from error
    if not len(samples):
        raise BadClip(Fault.UNREADABLE, f"no samples after sample {start}")
    if not np.isfinite(samples).all():
        raise BadClip(Fault.NOT_FINITE, f"{np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite")
    if (peak := np.abs(samples).max()) > LARGEST:
        raise BadClip(
            Fault.NOT_FINITE, f"samples up to {peak:.1e}, expected about -1 to 1: sums of them would overflow"
        )
    return torch.from_numpy(samples).mean(dim=1), rate


def normalise(waveform: Tensor, peak: float = 0.5) -> Tensor:
    """Remove the mean of (samples,) and scale so that the largest magnitude is ``peak``.

    Raises:
        BadClip: if the waveform is silent.
    """
    waveform = waveform - waveform.mean()
    largest = waveform.abs().max().item()
    if largest < SILENCE_PEAK:
        raise BadClip(Fault.SILENT, f"no sample above {20 * math.log10(max(largest, 1e-10)):.0f} dBFS")
    return waveform * (peak / largest)


def read_audio(
    path: Path,
    sample_rate: int,
    num_samples: int,
    peak: float = 0.5,
    position: float = 0.0,
    min_seconds: float = 0.0,
) -> Tensor:
    """A clip as training wants it.

    Of a clip that is longer than ``num_samples`` only the wanted part is read. If that part is silent and the clip is
    not, the part around the clip's loudest sample is taken instead.

    Args:
        path: of the file.
        sample_rate: wanted rate in Hz.
        num_samples: wanted length at that rate; a shorter clip is followed by zeros.
        peak: the largest magnitude of the result.
        position: which part of a longer clip, from 0, its beginning, to 1, its end.
        min_seconds: the shortest clip that is not a fault.

    Returns:
        (num_samples,) float32.

    Raises:
        BadClip: if it is missing, unreadable, too short, silent or not finite.
    """
    rate, frames, _ = audio_info(path, min_seconds)
    wanted = math.ceil(num_samples * rate / sample_rate)

    def part(start: int) -> Tensor:
        return normalise(_resampled(path, start, wanted, sample_rate)[:num_samples], peak)

    try:
        waveform = part(round(position * max(0, frames - wanted)))
    except BadClip as bad:
        if bad.fault != Fault.SILENT or frames <= wanted:
            raise
        loudest = int(normalise(decode(path)[0]).abs().argmax())
        waveform = part(min(max(0, loudest - wanted // 2), frames - wanted))
    return torch.nn.functional.pad(waveform, (0, num_samples - len(waveform)))


@lru_cache(maxsize=32)
def _resampler(orig_rate: int, new_rate: int) -> Resample:
    return Resample(orig_rate, new_rate)


@torch.no_grad()
def _resampled(path: Path, start: int, frames: int, sample_rate: int) -> Tensor:
    waveform, rate = decode(path, start, frames)
    return _resampler(rate, sample_rate)(waveform[None])[0]

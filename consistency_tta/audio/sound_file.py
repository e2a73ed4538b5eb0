"""Sound files: what they hold, and what can be wrong with one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

#: The largest sample that is a sound's, a million times full scale: squares and sums of what is beyond overflow.
LARGEST = 1e6

#: Samples that an MP3 file may lack of what its header says, two frames: programs differ in how they count the first.
MP3_SLACK = 2304


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


class Sound(NamedTuple):
    """A whole file as mono.

    Attributes:
        waveform: (samples,) float32, the mean of the channels.
        sample_rate: in Hz.
        channels: of the file.
    """

    waveform: Tensor
    sample_rate: int
    channels: int


def read_whole(path: Path) -> Sound:
    """All of a file, if all is there.

    Raises:
        BadClip: if it is missing, unreadable, empty, shorter than its header says, or has samples that are not finite.
    """
    rate, told, channels = audio_info(path)
    if lost := missing_bytes(path):
        raise BadClip(Fault.TRUNCATED, f"{lost:,} bytes less than its header says")
    waveform, _ = decode(path)
    if len(waveform) < told - MP3_SLACK and tells_mp3_length(path):
        raise BadClip(Fault.TRUNCATED, f"{len(waveform) / rate:.2f} s, its header says {told / rate:.2f} s")
    return Sound(waveform, rate, channels)


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


def tells_mp3_length(path: Path) -> bool:
    """Whether a file is MP3 with its length in the first frame, behind "Xing" or "Info".

    Without it the length that the decoder tells beforehand is a guess by the first frame's bit rate, and may be five
    times too long for a whole file.
    """
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # titles and pictures; their size is four times 7 bits
            file.seek(10 + sum(byte << 7 * place for place, byte in enumerate(head[:5:-1])))
        else:
            file.seek(0)
        frame = file.read(64)
    mark = max(frame.find(b"Xing"), frame.find(b"Info"))
    # The lowest of the flags behind the mark says that the number of frames follows.
    return frame[:1] == b"\xff" and mark > 0 and bool(int.from_bytes(frame[mark + 4 : mark + 8]) & 1)


def decode(path: Path, start: int = 0, frames: int = -1) -> tuple[Tensor, int]:
    """Read a file, or a part of it, as mono; see :func:`decode_channels`.

    Returns:
        Waveform (samples,) float32, the mean of the channels, and the sample rate in Hz.
    """
    waveform, rate = decode_channels(path, start, frames)
    return waveform.mean(dim=0), rate


def decode_channels(path: Path, start: int = 0, frames: int = -1) -> tuple[Tensor, int]:
    """Read a file, or a part of it.

    Args:
        path: of the file.
        start: first sample to read, at the file's rate.
        frames: how many samples to read; -1 for all.

    Returns:
        Waveform (channels, samples) float32 with the file's channels, and the sample rate in Hz.

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
    return torch.from_numpy(samples).T, rate

"""From an audio file of any rate and channel count to a waveform of the model's rate and length.

The steps are TANGO's (D. Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion
Model", 2023, https://arxiv.org/abs/2304.13731): mono, resampled, mean removed, peak normalised, cut or padded. For
models of several channels the channels are kept, and normalised together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from consistency_tta.audio.resample import resample
from consistency_tta.audio.sound_file import SILENCE_PEAK, BadClip, Fault, audio_info, decode, decode_channels
from consistency_tta.audio.sound_source import SoundSource
from consistency_tta.contracts import to_channels


def normalise(waveform: Tensor, peak: float = 0.5) -> Tensor:
    """Remove the mean of each channel (..., samples) and scale all so that the largest magnitude is ``peak``.

    Raises:
        BadClip: if the waveform is silent.
    """
    waveform = waveform - waveform.mean(-1, keepdim=True)
    largest = waveform.abs().max().item()
    if largest < SILENCE_PEAK:
        level = f"at {20 * math.log10(largest):.0f} dBFS at most" if largest else "constant"
        raise BadClip(Fault.SILENT, f"its samples, without their mean, are {level}")
    return waveform * (peak / largest)


def read_audio(
    source: SoundSource,
    sample_rate: int,
    num_samples: int,
    peak: float = 0.5,
    position: float = 0.0,
    min_seconds: float = 0.0,
    channels: int = 1,
) -> Tensor:
    """A clip made ready for training.

    Of a clip that is longer than ``num_samples`` only the wanted part is read. If that part is silent and the clip is
    not, the part around the clip's loudest sample is taken instead.

    Args:
        source: the file.
        sample_rate: wanted rate in Hz.
        num_samples: wanted length at that rate; a shorter clip is followed by zeros.
        peak: the largest magnitude of the result.
        position: which part of a longer clip, from 0, its beginning, to 1, its end.
        min_seconds: the shortest clip that is not a fault.
        channels: wanted channels. A file with other ones is averaged, and the average repeated.

    Returns:
        (num_samples,) float32 of one channel, (channels, num_samples) of several.

    Raises:
        BadClip: if it is missing, unreadable, too short, silent, not finite, or its channels cancel each other.
    """
    rate, frames, _ = audio_info(source, min_seconds)
    wanted = math.ceil(num_samples * rate / sample_rate)

    def part(start: int) -> Tensor:
        return normalise(_resampled(source, start, wanted, sample_rate, channels)[..., :num_samples], peak)

    try:
        waveform = part(round(position * max(0, frames - wanted)))
    except BadClip as bad:
        if bad.fault not in (Fault.SILENT, Fault.CANCELLED) or frames <= wanted:
            raise
        loudest = int(normalise(_decoded(source, 0, -1, channels)[0]).abs().amax(0).argmax())
        waveform = part(min(max(0, loudest - wanted // 2), frames - wanted))
    waveform = torch.nn.functional.pad(waveform, (0, num_samples - waveform.shape[-1]))
    return waveform[0] if channels == 1 else waveform


@torch.no_grad()
def _resampled(source: SoundSource, start: int, frames: int, sample_rate: int, channels: int) -> Tensor:
    waveform, rate = _decoded(source, start, frames, channels)
    return resample(waveform, rate, sample_rate)


def _decoded(source: SoundSource, start: int, frames: int, channels: int) -> tuple[Tensor, int]:
    if channels == 1:
        mono, rate = decode(source, start, frames)
        return mono[None], rate
    waveform, rate = decode_channels(source, start, frames)
    return to_channels(waveform[None], channels)[0], rate

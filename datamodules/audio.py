"""From an audio file of any rate and channel count to a waveform of the model's rate and length.

The steps are TANGO's (D. Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion
Model", 2023, https://arxiv.org/abs/2304.13731): mono, resampled, mean removed, peak normalised, cut or padded. For
models of several channels the channels are kept, and normalised together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from consistency_tta.audio.antiphase import cancelling_report
from consistency_tta.audio.resample import resample
from consistency_tta.audio.sound_file import SILENCE_PEAK, BadClip, Fault, audio_info, decode_channels, mono
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
    examined: Callable[[str, bool], None] | None = None,
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
        examined: where channels are averaged, is given what the average lacks, as a sentence, empty if little, and
            whether that is of the whole file; None where that need not be known.

    Returns:
        (num_samples,) float32 of one channel, (channels, num_samples) of several.

    Raises:
        BadClip: if it is missing, unreadable, too short, silent, not finite, or its channels cancel each other.
    """
    rate, frames, _ = audio_info(source, min_seconds)
    wanted = math.ceil(num_samples * rate / sample_rate)

    def averaged(start: int, length: int) -> Tensor:
        waveform, _ = decode_channels(source, start, length)
        made = mono(waveform)[None] if channels == 1 else to_channels(waveform[None], channels)[0]
        if examined is not None and len(waveform) != channels:
            whole = waveform.shape[1] >= frames
            report = cancelling_report(waveform, rate)
            examined(report if whole or not report else f"in a part that was read, {report}", whole)
        return made

    def part(start: int) -> Tensor:
        return normalise(_resampled(averaged(start, wanted), rate, sample_rate)[..., :num_samples], peak)

    try:
        waveform = part(round(position * max(0, frames - wanted)))
    except BadClip as bad:
        if bad.fault not in (Fault.SILENT, Fault.CANCELLED) or frames <= wanted:
            raise
        loudest = int(normalise(averaged(0, -1)).abs().amax(0).argmax())
        waveform = part(min(max(0, loudest - wanted // 2), frames - wanted))
    waveform = torch.nn.functional.pad(waveform, (0, num_samples - waveform.shape[-1]))
    return waveform[0] if channels == 1 else waveform


@torch.no_grad()
def _resampled(waveform: Tensor, rate: int, sample_rate: int) -> Tensor:
    return resample(waveform, rate, sample_rate)

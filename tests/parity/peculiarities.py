"""What the official code does otherwise, put into the place of ours for the comparison (docs/parity.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from consistency_tta.contracts import (
    AudioEncoder,
    DistillationOutput,
    Loss,
    Schedule,
    TimeGrid,
)
from consistency_tta.diffusion.grid import LinspaceGrid
from consistency_tta.diffusion.schedules import VariancePreservingSchedule
from consistency_tta.losses import CLAPLoss, LatentL2Loss, MelL2Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import networks
from tests.parity import draws


class DDIMGrid(TimeGrid):
    """The official points of DDIM, every 55th timestep of 1000 for 18 of them, from 935 down to 0; and then clean."""

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        timesteps = torch.arange(num_steps - 1, -1, -1) * (schedule.num_train_timesteps // num_steps)
        return torch.cat([timesteps.double() + 1, torch.zeros(1)])


class OfficialGrid(TimeGrid):
    """The 18 points of the official training, of which the last, timestep 0, counts as clean there.

    Args:
        points: the grid that has them before its 0; the published training's if not given.
    """

    def __init__(self, points: TimeGrid | None = None) -> None:
        super().__init__()
        self.points = points or LinspaceGrid()

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        times = self.points(schedule, num_steps + 1)[:-1]
        return torch.cat([times[:-1], times.new_zeros(1)])


class LogInterpolated(VariancePreservingSchedule):
    """r between whole times by its logarithm, as the official code finds the times of Karras's noise levels.

    For its other times it interpolates r itself, like ``VariancePreservingSchedule``.
    """

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LogInterpolated:
        return cls(DDPMScheduler.from_config(dict(config)).alphas_cumprod)

    def ratio(self, t: Tensor) -> Tensor:
        table = self._table_for(t)
        index = t.long().clamp(1, self.num_train_timesteps - 1)
        ratio = torch.lerp(table[index].log(), table[index + 1].log(), (t - index).to(table.dtype)).exp()
        return torch.where(t < 1, super().ratio(t), ratio)

    def time(self, ratio: Tensor) -> Tensor:
        table = self._table_for(ratio)
        index = (torch.searchsorted(table, ratio) - 1).clamp(1, self.num_train_timesteps - 1)
        low, high = table[index].log(), table[index + 1].log()
        return torch.where(ratio < table[1], super().time(ratio), index + (ratio.log() - low) / (high - low))


@contextlib.contextmanager
def log_interpolated() -> Iterator[None]:
    """Lets model folders be read with the official interpolation of Karras's times."""
    with mock.patch.object(networks, "schedule_from_config", LogInterpolated.from_config):
        yield


class StandInCLAP(AudioEncoder):
    sample_rate = 16000

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return draws.embed_audio(waveform)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        return draws.embed_text(captions)


class NoiseWeighted(Loss):
    """Another loss, weighted by noise: the official code weights losses of sound like those of latents."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, out: DistillationOutput) -> Tensor:
        return self.loss(out)


def like_official_sound(codec: Any) -> None:
    """Waveforms as the official code makes them: not cropped, and the batch moved so that its extremes are opposite."""

    def mel_to_waveform(mel: Tensor) -> Tensor:
        waveform = codec.vocoder(mel)
        return waveform - (waveform.max() + waveform.min()) / 2

    codec.mel_to_waveform = mel_to_waveform


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Lets stage 2 be computed in float64, to tell rounding from anything else: whoever wants float32 gets that."""
    with mock.patch.object(Tensor, "float", Tensor.double):
        yield


def official_losses() -> dict[str, tuple[dict[str, Loss], dict[str, float]]]:
    """The official losses of stage 2, by their official names, all of them weighted by noise as there."""
    sounds = (MelL2Loss(), MultiResolutionSTFTLoss(floor=1e-4), CLAPLoss(StandInCLAP()))
    mel, stft, clap = (NoiseWeighted(loss) for loss in sounds)
    return {
        "mse": ({"latent": LatentL2Loss()}, {}),
        "mel": ({"latent": LatentL2Loss(), "mel": mel}, {"latent": 0.7, "mel": 0.3}),
        "stft": ({"latent": LatentL2Loss(), "stft": stft}, {"latent": 0.8, "stft": 0.1}),
        "clap": ({"latent": LatentL2Loss(), "clap": clap}, {"clap": 0.1}),
    }

"""The contracts of the framework: what flows through a training step, and what can be plugged in.

A third party needs nothing but this package.

Glossary, used in every other file:

    z_0        clean latent (B, C, *): C channels; * is (T, F) time and frequency for mels, (T,) for waveforms
    z_t        noisy latent, z_t = alpha_t z_0 + sigma_t epsilon, epsilon standard normal
    t > s      two times in [0, num_train_timesteps], per example (B,); 0 is clean. For schedules of discrete steps
               t = k + 1 is what a diffusers scheduler calls timestep k
    w          guidance scale (B,): guided = unconditional + w (conditional - unconditional)
    SNR(t)     alpha_t^2 / sigma_t^2
    moments    (B, 2 C, *): mean and log-variance of a codec's posterior, unscaled
    waveform   (B, samples) of one channel, or (B, channels, samples), in [-1, 1]
    mel        natural-log mel spectrogram (B, frames, bins)
    teacher    the frozen diffusion model that is distilled; guided by w
    student    the network in training; it reads w and needs one query for a sound
    target     an exponential moving average of the student that the student learns to match
    query      one evaluation of a network; classifier-free guidance costs two
    embedding  what an audio or text encoder computes of a sound or caption
"""

from consistency_tta.contracts.audio import AudioEmbedding, AudioEncoder, Codec, MelDecoder
from consistency_tta.contracts.channels import squeeze_mono, to_channels, to_mono
from consistency_tta.contracts.data import Batch, Conditioning, LatentSource, TextEmbedding, Trajectory
from consistency_tta.contracts.diffusion import Denoiser, Schedule, Solver, TimeGrid, Weighting
from consistency_tta.contracts.loss import AudioOutput, DistillationOutput, Loss
from consistency_tta.contracts.objective import (
    Generation,
    Networks,
    Objective,
    Prediction,
    Randomness,
    Step,
)
from consistency_tta.contracts.optimization import FinalPhase, Learner, Optimization

__all__ = [
    "AudioEmbedding",
    "AudioEncoder",
    "AudioOutput",
    "Batch",
    "Codec",
    "Conditioning",
    "Denoiser",
    "DistillationOutput",
    "FinalPhase",
    "Generation",
    "LatentSource",
    "Learner",
    "Loss",
    "MelDecoder",
    "Networks",
    "Objective",
    "Optimization",
    "Prediction",
    "Randomness",
    "Schedule",
    "Solver",
    "Step",
    "TextEmbedding",
    "TimeGrid",
    "Trajectory",
    "Weighting",
    "squeeze_mono",
    "to_channels",
    "to_mono",
]

"""Make the clips that `tools/esc10.py` judges: twenty of each class of ESC-10, by a teacher or a student.

    python -m tools.esc10_generate tiny-teacher out/teacher --steps 200
    python -m tools.esc10_generate tiny-student out/student
    python -m tools.esc10_generate tiny-teacher out/round_trip --round_trip path/to/esc50

Each of a class's five captions is said equally often. Clip k of a class starts from the same noise in every model. With
``--round_trip`` the real clips of fold 5 go through the model's autoencoder and vocoder instead.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.audio.resample import resample
from consistency_tta.diffusion import solve
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device
from tools.esc10_captions import captions_by_label, recordings


def noise(label_index: int, number: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Starting noise (number, C, T, F) of a class's clips; more clips begin with the same ones."""
    generators = (torch.Generator().manual_seed(seed * 10**6 + label_index * 10**3 + k) for k in range(number))
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def generate(
    pipeline: TextToAudioPipeline,
    captions: dict[str, list[str]],
    output: Path,
    clips: int,
    seed: int = 0,
    guidance_scale: float = 3.0,
    steps: int | None = None,
    solver: str = "DDIM",
) -> dict[str, float]:
    """Write ``<class>__NN.wav``; returns queries, and seconds per clip of U-Net and decoders."""
    shape = pipeline.latent_shape
    seconds, queries = {"latents": 0.0, "decoders": 0.0}, 0
    for index, (label, texts) in enumerate(tqdm(captions.items(), unit="class")):
        made = pipeline(
            [texts[k % len(texts)] for k in range(clips)],
            guidance_scale,
            steps,
            getattr(solve, solver)(),
            latents=noise(index, clips, shape, seed).to(pipeline.device),
        )
        queries = made.queries
        seconds = {name: seconds[name] + made.seconds[name] for name in seconds}
        for k, waveform in enumerate(made.waveform):
            soundfile.write(output / f"{label}__{k:02d}.wav", waveform.numpy(), made.sample_rate, subtype="PCM_16")
    total = clips * len(captions)
    return {"queries": queries} | {f"seconds_{name}": value / total for name, value in seconds.items()}


def round_trip(pipeline: TextToAudioPipeline, esc50: Path, output: Path) -> dict[str, float]:
    """Write the real clips of fold 5 through autoencoder and vocoder; returns how many and seconds per clip.

    They are as loud on the way as in training, where the peak is at 0.5.
    """
    codec = pipeline.mel_codec
    clips = [clip for clip in recordings(esc50) if clip.split == "test"]
    hop = codec.downsampling * codec.mel.config["hop_length"]
    started = time.perf_counter()
    for clip in tqdm(clips, unit="clip"):
        read, rate = soundfile.read(clip.file, dtype="float32")
        samples = resample(torch.from_numpy(read), rate, codec.sample_rate)
        gain = 0.5 / samples.abs().max().clamp_min(1e-6)
        waveform = (gain * samples)[None].to(pipeline.device)
        padded = torch.nn.functional.pad(waveform, (0, -len(samples) % hop))
        made = (codec.round_trip(padded)[0, : len(samples)].cpu() / gain).clamp(-1, 1)
        file = output / f"{clip.label}__{clip.clip_id}.wav"
        soundfile.write(file, made.numpy(), codec.sample_rate, subtype="PCM_16")
    return {"clips": len(clips), "seconds": (time.perf_counter() - started) / len(clips)}


def main(args: list[str] | None = None) -> None:
    """Write the clips and print what they took."""
    parser = argparse.ArgumentParser(description="Make the clips that tools/esc10.py judges.")
    parser.add_argument("model", help="model folder, or a bundled model's name")
    parser.add_argument("output", type=Path)
    parser.add_argument("--clips", type=int, default=20, help="of each class (default 20)")
    parser.add_argument("--steps", type=int, help="solver steps; 1 for a student, 50 for a teacher, if not given")
    parser.add_argument("--guidance_scale", type=float, default=3.0)
    parser.add_argument("--solver", default="DDIM", choices=["DDIM", "Heun", "DPMSolver2S"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round_trip", type=Path, help="folder of ESC-50, whose fold 5 goes through the autoencoder")
    options = parser.parse_args(args)
    pipeline = TextToAudioPipeline.from_pretrained(options.model).to(best_device())
    pipeline.set_progress_bar_config(disable=True)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.round_trip:
        print(round_trip(pipeline, options.round_trip, options.output))
        return
    captions = captions_by_label()
    chosen = (options.clips, options.seed, options.guidance_scale, options.steps, options.solver)
    print(generate(pipeline, captions, options.output, *chosen))


if __name__ == "__main__":
    main()

"""Make the clips that `tools/esc10.py` judges: twenty of each class of ESC-10, by a teacher or a student.

    python tools/esc10_generate.py path/to/esc50 tiny-teacher out/teacher --steps 200
    python tools/esc10_generate.py path/to/esc50 tiny-student out/student
    python tools/esc10_generate.py path/to/esc50 tiny-teacher out/round_trip --round_trip

Each of a class's five captions is said equally often. Clip k of a class starts from the same noise in every model. With
``--round_trip`` the real clips of fold 5 go through the model's autoencoder and vocoder instead.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.diffusion import solve
from consistency_tta.pipeline import TextToAudioPipeline, best_device


def captions_by_class(esc50: Path) -> dict[str, list[str]]:
    """The five captions of each class of ESC-10."""
    with (esc50 / "clips.csv").open(newline="", encoding="utf-8") as file:
        labels = {row["label"] for row in csv.DictReader(file) if row["esc10"] == "True"}
    with (esc50 / "captions_by_label.csv").open(newline="", encoding="utf-8") as file:
        rows = {row.pop("label"): list(row.values()) for row in csv.DictReader(file)}
    return {label: rows[label] for label in sorted(labels)}


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
    shape = (pipeline.unet.config.in_channels, *pipeline.unet.config.sample_size)
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
    codec = pipeline.codec
    with (esc50 / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["esc10"] == "True" and row["fold"] == "5"]
    hop = codec.downsampling * codec.mel.config["hop_length"]
    started = time.perf_counter()
    for row in tqdm(rows, unit="clip"):
        samples, rate = soundfile.read(esc50 / row["file"], dtype="float32")
        if rate != codec.sample_rate:
            raise ValueError(f"expected {codec.sample_rate} Hz in {row['file']}, got {rate}")
        gain = 0.5 / max(1e-6, abs(samples).max())
        waveform = gain * torch.from_numpy(samples)[None].to(pipeline.device)
        padded = torch.nn.functional.pad(waveform, (0, -len(samples) % hop))
        made = (codec.round_trip(padded)[0, : len(samples)] / gain).clamp(-1, 1).cpu()
        soundfile.write(output / f"{row['label']}__{Path(row['file']).stem}.wav", made.numpy(), rate, subtype="PCM_16")
    return {"clips": len(rows), "seconds": (time.perf_counter() - started) / len(rows)}


def main(args: list[str] | None = None) -> None:
    """Write the clips and print what they took."""
    parser = argparse.ArgumentParser(description="Make the clips that tools/esc10.py judges.")
    parser.add_argument("esc50", type=Path, help="folder of ESC-50 with clips.csv and captions_by_label.csv")
    parser.add_argument("model", help="model folder, or a bundled model's name")
    parser.add_argument("output", type=Path)
    parser.add_argument("--clips", type=int, default=20, help="of each class (default 20)")
    parser.add_argument("--steps", type=int, help="solver steps; 1 for a student, 50 for a teacher, if not given")
    parser.add_argument("--guidance_scale", type=float, default=3.0)
    parser.add_argument("--solver", default="DDIM", choices=["DDIM", "Heun", "DPMSolver2S"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round_trip", action="store_true")
    options = parser.parse_args(args)
    pipeline = TextToAudioPipeline.from_pretrained(options.model).to(best_device())
    pipeline.set_progress_bar_config(disable=True)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.round_trip:
        print(round_trip(pipeline, options.esc50, options.output))
        return
    captions = captions_by_class(options.esc50)
    chosen = (options.clips, options.seed, options.guidance_scale, options.steps, options.solver)
    print(generate(pipeline, captions, options.output, *chosen))


if __name__ == "__main__":
    main()

"""The whole arena within some minutes, on an accelerator without network; the checkout has everything it needs.

    python -m tools.arena device --minutes 10 --output OUT                     # a wide teacher, trained from nothing
    python -m tools.arena device --minutes 10 --output OUT --teacher tiny-teacher   # the bundled one is distilled

The bundled teacher makes the training latents, which are also the reference of distances. All models use its codec
and text encoder, and the bundled CLAP evaluates. The same command goes on where it was stopped. Options replace these:

    --latents LATENTS --real recordings_mn04.safetensors --encoder consistency_tta.metrics.encoders.mn04.Mn04
        --weights mn04_as_mAP_432.pt --labels audioset527_labels.csv

``--results FOLDER`` copies tables and the latents of each evaluated sound there, but no weights. Another encoder can
then evaluate the same sounds on a machine that has the recordings: ``python -m tools.arena evaluate --output FOLDER
--codec tiny-teacher --esc50 ESC50 --weights mn04_as_mAP_432.pt --labels audioset527_labels.csv``.

docs/gpu_check.md says how to prepare a machine that has no package index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from tools.arena import evaluate, report, train
from tools.arena.classifier import load_encoder
from tools.arena.configuration import duration
from tools.arena.speed import passes_a_second
from tools.arena.teacher import train_teacher
from tools.arena.teacher_sounds import TeacherSounds

#: Share of the time left after the teacher's training that contestants train; the rest is for their evaluation.
TRAINING = 0.65
#: Passes of a training in the time of one forward pass: optimizer, averages and data take the rest.
RATE = 0.6
CONTESTANTS = "consistency,consistency_distribution,rcm,mean_flow,trajectory,official"
CLAP = "consistency_tta.components.clap.TinyClap"


def parse(args: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and those of ``fit``."""
    parser = argparse.ArgumentParser(prog="python -m tools.arena device", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the arena")
    parser.add_argument("--results", type=Path, help="folder to which all but weights is copied")
    parser.add_argument("--minutes", type=float, default=10.0, help="for everything")
    parser.add_argument("--base", default="tiny-teacher", help="model folder with codec and text encoder")
    parser.add_argument("--teacher", help="model folder; one of --channels is trained if not given")
    parser.add_argument("--teacher_share", type=float, default=0.25, help="of the minutes, for the teacher's training")
    parser.add_argument("--channels", type=int, nargs="+", default=[192, 288, 384], help="of the teacher's U-Net")
    parser.add_argument("--latents", type=Path, help="folder with train/; samples of the base if not given")
    parser.add_argument("--samples", type=int, default=80, help="such samples of each class, to train on")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--contestants", default=CONTESTANTS, help="names or YAML files, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each contestant")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--clips", type=int, default=40, help="sounds of each class")
    parser.add_argument("--teacher_steps", type=int, default=50, help="of the teacher's solver")
    parser.add_argument("--draws", type=int, default=20, help="random halves of the sounds, for intervals")
    parser.add_argument("--real", type=Path, help="embeddings of recordings, which evaluate writes")
    parser.add_argument("--esc50", type=Path, help="folder of ESC-50; without the last two, samples of the base")
    parser.add_argument("--encoder", default=CLAP, help="class of the encoder that evaluates")
    parser.add_argument("--weights", default="tiny-clap", help="of the encoder")
    parser.add_argument("--labels", type=Path, help="AudioSet's classes: index, display_name; a linear probe without")
    return parser.parse_known_args(args)


def main(args: list[str] | None = None) -> None:
    """Samples, teacher, contestants, evaluation, report."""
    started = time.monotonic()
    options, further = parse(args)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    sounds = TeacherSounds(
        options.base, output / "samples", options.samples, max(options.samples // 4, 2), options.teacher_steps
    )
    latents = options.latents or sounds.encoded()
    compared_with = prepare_reference(options, sounds)
    further = ["--data.batch_size", str(options.batch_size), *further]
    seconds = 60 * options.minutes
    teacher = options.teacher or str(output / "teacher" / "model")
    if options.teacher is None:
        share = options.teacher_share * seconds
        train_teacher(Path(teacher), options.base, latents, options.channels, share, further)
    left = max(1.0, seconds - (time.monotonic() - started))  # a second, so that there is some result
    failed = train_all(options, latents, teacher, left, further)

    common = ["--output", str(output), "--clips", str(options.clips), "--draws", str(options.draws)]
    common += ["--encoder", options.encoder, "--weights", options.weights, *compared_with]
    common += ["--labels", str(options.labels)] if options.labels else []
    common += ["--esc50", str(options.esc50)] if options.esc50 else []
    evaluate.main([*common, "--reference", f"teacher={teacher}@{options.teacher_steps}", "--last"])
    # Curves, queries: as far as time is left.
    for more in ([], ["--last", "--steps", "2", "4"]):
        if time.monotonic() - started < 0.8 * seconds:
            evaluate.main([*common, *more])
    report.main(["--output", str(output)])
    if options.results is not None:
        shutil.copytree(output, options.results, ignore=weights, dirs_exist_ok=True)
    print(f"{time.monotonic() - started:.0f} s in all; failed: {failed or 'none'}")


def weights(folder: str, names: list[str]) -> list[str]:
    """Which files of a folder are not results."""
    large = ("*.ckpt", "diffusion_pytorch_model*", "model*.safetensors", "samples")
    return [name for name in names if Path(folder, name).is_symlink() or any(fnmatch(name, one) for one in large)]


def prepare_reference(options: argparse.Namespace, sounds: TeacherSounds) -> list[str]:
    """Leave the embeddings that distances compare with where ``evaluate`` looks for them; its further options."""
    if options.real is not None:
        shutil.copy(options.real, options.output / options.real.name)
    if options.real is not None or options.esc50 is not None:
        return []
    encoder = load_encoder(options.encoder, options.weights)
    file = options.output / f"recordings_{encoder.name}.safetensors"
    if not file.exists():
        sounds.clips(encoder).save(file)
    name = f"samples of {Path(options.base).name} in {options.teacher_steps} steps, of which contestants learn"
    return ["--compared_with", f"{name} (held out: others)"]


def train_all(
    options: argparse.Namespace, latents: Path, teacher: str, seconds: float, further: list[str]
) -> dict[str, str]:
    """Train the contestants for equal passes, as many as fit; a call after the first keeps that budget."""
    file = options.output / "plan.json"
    if not file.exists():
        trainings = len(options.contestants.split(",")) * options.seeds
        each = TRAINING * seconds / trainings
        speed = passes_a_second(teacher, options.batch_size, min(1.0, each))
        passes = 1 + round(RATE * speed * each)
        plan = {"trainings": trainings, "seconds": each, "passes_a_second": speed, "passes": passes}
        file.write_text(json.dumps(plan) + "\n", encoding="utf-8")
    plan = json.loads(file.read_text(encoding="utf-8"))
    print(f"each of {plan['trainings']} trainings: {plan['passes']} passes, {plan['seconds']:.0f} s", flush=True)
    command = ["--output", str(options.output), "--latents", str(latents), "--teacher", teacher]
    command += ["--contestants", options.contestants, "--seeds", str(options.seeds), "--budget", str(plan["passes"])]
    command += ["--fractions", *map(str, options.fractions), "--unfinished", "--every", "200"]
    return train.main([*command, "--trainer.max_time", duration(plan["seconds"]), *further])

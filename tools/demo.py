"""Distils the bundled teacher on this machine and shows what came of it: demo/report.html.

    python -m tools.demo [--output demo] [--start STUDENT] [any argument of fit, such as --trainer.max_steps 100]

The training is an ordinary `consistency-tta fit` of lightning_configs/tiny/demo.yaml. On a slow machine the
teacher makes less, so that the whole takes about as long as `--seconds` says.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import shutil
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import yaml
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from consistency_tta.cli import main as consistency_tta
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.bundled import PIPELINE, TRANSFORMERS, offer, resolve
from consistency_tta.storage.text import filled_lines, read_text
from tools.demo_limits import (
    FEW,
    LEAST_REPORT_STEPS,
    limit_report,
    limit_samples,
    seconds_per_step,
    training_time,
)
from tools.demo_report import Report
from tools.demo_threads import choose_threads
from tools.model_comparison import ComparedModel, generate_sounds, score_sounds

RECIPES = Path(__file__).parents[1] / "lightning_configs" / "tiny"
CAPTIONS = RECIPES / "esc10_captions.txt"
GUIDANCE_SCALE, SEED = 3.0, 0
#: Training steps after which the effect of the distillation is audible.
ENOUGH = 70


def arguments(args: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The demo's own options, and the rest, which is for ``fit``."""
    parser = argparse.ArgumentParser(
        description="Distil the bundled teacher for some minutes; report.html shows and plays the result.",
        epilog="Other arguments, such as --trainer.max_steps 100, are those of `consistency-tta fit`.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder")
    parser.add_argument("--teacher", default="tiny-teacher", help="folder or bundled name, as the next two")
    parser.add_argument("--student", default="tiny-student", help="a finished student, to compare with")
    parser.add_argument("--clap", default="tiny-clap", help="a CLAP with the statistics that tools/bundle.py stores")
    parser.add_argument("--start", help="student to start from; the teacher's own weights if not given")
    parser.add_argument("--seconds", type=float, default=300, help="that the whole may take, about; half of it trains")
    parser.add_argument(
        "--teacher_steps", type=int, help="of the teacher's solver, in the report; if not given 200, or fewer in time"
    )
    parser.add_argument("--captions", type=Path, default=CAPTIONS, help="texts to distil, one a line")
    parser.add_argument(
        "--every", type=int, default=5, help="every so many of them is in the report, from the first on"
    )
    options, others = parser.parse_known_args(args)
    options.texts = filled_lines(read_text(options.captions))
    options.prompts = options.texts[:: options.every]
    # Before minutes of training, not after.
    for name, kind in ((options.teacher, PIPELINE), (options.student, PIPELINE), (options.clap, TRANSFORMERS)):
        if not (Path(resolve(name, kind)) / kind).is_file():
            parser.error(f"expected a model folder or a bundled name, got {name} ({offer(kind)})")
    if not 0 < options.seconds < float("inf"):
        parser.error(f"expected --seconds above 0, got {options.seconds:g}")
    if len(options.prompts) < 2:
        parser.error(
            f"expected at least 2 captions for the report, got {len(options.prompts)} of {options.captions}: "
            "lower --every"
        )
    return options, others


def limit_training(
    options: argparse.Namespace, others: list[str], teacher: TextToAudioPipeline
) -> tuple[list[str], list[str]]:
    """Arguments of ``fit`` that keep the samples and the training to their time, and what they cut."""
    limits = ["--trainer.max_time", training_time(options.seconds)]
    if any(argument.startswith(("--data", "--config")) for argument in others):
        return limits, []  # the caller has chosen the samples
    recipe = yaml.safe_load(read_text(RECIPES / "demo.yaml"))
    fewer, cut = limit_samples(options.seconds, teacher, options.texts, recipe["data"]["init_args"])
    return limits + fewer, said(cut)


def shorten_report(options: argparse.Namespace, teacher: TextToAudioPipeline) -> list[str]:
    """Choose the teacher's steps and the number of captions by the report's time; what that cut."""
    steps, least = options.teacher_steps or 200, options.teacher_steps or LEAST_REPORT_STEPS
    steps, shown, cut = limit_report(options.seconds, teacher, options.prompts, steps, least)
    options.teacher_steps, options.prompts = steps, options.prompts[:shown]
    return said(cut)


def said(cut: str) -> list[str]:
    """Print what was cut, if anything."""
    if cut:
        print(f"this machine is slow now: {cut}; a greater --seconds makes more")
    return [cut] if cut else []


def distil(options: argparse.Namespace, others: list[str]) -> tuple[list[str], dict[str, str]]:
    """Run the recipe; its command line, and its text in the report."""
    run = options.output / "run"
    shutil.rmtree(run, ignore_errors=True)  # latents of another teacher would be kept and used
    command = ["fit", "--config", os.path.relpath(RECIPES / "demo.yaml"), "--model.teacher", options.teacher]
    command += ["--data.captions", os.path.relpath(options.captions), "--trainer.default_root_dir", str(run)]
    command += ["--model.student.folder", options.start] if options.start else []
    started = time.perf_counter()
    trainer = consistency_tta([*command, *others]).trainer
    seconds = time.perf_counter() - started
    start = options.start or "the teacher's own weights"
    too_few = ""
    if trainer.global_step < min(ENOUGH, trainer.max_steps):
        too_few = (
            f"; the time was over before {ENOUGH} steps, after which the effect is audible: --seconds "
            f"{3 * options.seconds:g} gives it longer"
        )
        print(f"{trainer.global_step} steps{too_few}")
    facts = {
        "distillation": f"{trainer.global_step} steps from {start}; {seconds:.0f} s, the making of samples included"
        f"{too_few}",
        "training data": f"samples of the teacher for the captions in {options.captions.name}; no recordings",
    }
    return ["consistency-tta", *command, *others], facts


def compared_models(options: argparse.Namespace, facts: dict[str, str]) -> list[ComparedModel]:
    """The columns of the report."""
    start = options.start or options.teacher
    fresh = f"distilled just now: {facts['distillation'].split(' from')[0]}"
    return [
        ComparedModel("Teacher", options.teacher, "diffusion, DDIM with guidance", options.teacher_steps),
        ComparedModel(
            "Before distillation", start, "the untouched start, queried once", 1, as_student=not options.start
        ),
        ComparedModel("Fresh student", str(options.output / "run/model"), fresh, 1),
        ComparedModel("Bundled student", options.student, "distilled for longer; comes with the package", 1),
    ]


def losses(run: Path) -> tuple[list[float], list[float]]:
    """Steps and training losses that Lightning's CSVLogger wrote; none of a run that was shorter than its interval."""
    rows = []
    for file in run.rglob("metrics.csv"):
        with file.open(newline="") as table:
            rows += [row for row in csv.DictReader(table) if row.get("train/loss")]
    return [float(row["step"]) + 1 for row in rows], [float(row["train/loss"]) for row in rows]


def machine() -> dict[str, str]:
    """What the page was made with."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().split("\n") if cpus.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    packages = ("consistency-tta", "torch", "lightning", "diffusers", "transformers")
    return {
        "machine": f"{names[0] if names else platform.processor() or platform.machine()}, cores: {os.cpu_count()}; "
        f"{platform.system()}",
        "versions": f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
        "made on": date.today().isoformat(),
    }


def main(args: list[str] | None = None) -> Path:
    """Train, generate, evaluate, write the report."""
    started = time.perf_counter()
    options, others = arguments(args)
    for logging in (diffusers_logging, transformers_logging):
        logging.disable_progress_bar()  # of loading; those of training and generating are to be seen
    teacher = TextToAudioPipeline.from_pretrained(options.teacher)
    teacher.set_progress_bar_config(disable=True)
    threads = choose_threads(lambda: seconds_per_step(teacher, options.texts[:FEW]))
    print(f"threads: {threads}")
    limits, cuts = limit_training(options, others, teacher)
    command, facts = distil(options, [*limits, *others])
    cuts += shorten_report(options, teacher)
    captions, results = options.prompts, []
    for model in compared_models(options, facts):
        sounds = generate_sounds(model, captions, GUIDANCE_SCALE, SEED)
        results.append((sounds, score_sounds(sounds, captions, options.clap)))
    steps, values = losses(options.output / "run")
    facts |= {
        "sounds": f"guidance scale {GUIDANCE_SCALE:g}; the same noise in each row, seed {SEED}; "
        f"FLAC, 16 bits, {results[0][0].sample_rate} Hz",
        "spectrograms": f"{results[0][0].mel.shape[2]} mel bands, of the waveform after the vocoder",
        "models": f"{options.teacher}, {options.student}; evaluated by {options.clap}",
        "threads": threads,
        f"cut, for {options.seconds:g} s in all": "; ".join(cuts) or "nothing",
    }
    demo = shlex.join(["python", "-m", "tools.demo", *(sys.argv[1:] if args is None else args)])
    report = Report(
        captions=captions,
        results=results,
        headline=2,
        real=ReferenceStatistics.load(options.clap),
        steps=steps,
        losses=values,
        teacher_steps=options.teacher_steps,
        facts=facts | machine() | {"whole demo": f"{time.perf_counter() - started:.0f} s"},
        commands=["# all of this page", demo, "# its training alone", shlex.join(command)],
    )
    file = report.write(options.output / "report.html")
    print(f"\nDone in {time.perf_counter() - started:.0f} s: open {file} in a browser")
    return file


if __name__ == "__main__":
    main()

"""The whole arena within some minutes, on an accelerator without network: a wide teacher from nothing, then all else.

    python -m tools.arena device --minutes 10 --output OUT --latents LATENTS --real recordings_mn04.safetensors
        --weights mn04_as_mAP_432.pt --labels audioset527_labels.csv

Codec and text encoder are the bundled teacher's. The latents are those that `consistency-tta encode` made with it; one
or two copies of ESC-10 are 10 to 20 MB. The file of real embeddings is what `evaluate` writes as
<output>/recordings_<encoder>.safetensors; instead, --esc50 names the recordings.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from consistency_tta.runtime.errors import DataError
from tools.arena import evaluate, report, train
from tools.arena.configuration import duration, known
from tools.arena.teacher import train_teacher
from tools.esc10 import MN04

#: Shares of the time that is left after the teacher's training: for contestants; the rest is for their evaluation.
TRAINING = 0.65
#: A distillation step makes fewer passes a second than a teacher's does.
RATE = 0.6


def parse(args: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and those of ``fit``."""
    parser = argparse.ArgumentParser(prog="python -m tools.arena device", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the arena")
    parser.add_argument("--latents", type=Path, required=True, help="folder with train/")
    parser.add_argument("--minutes", type=float, default=10.0, help="for everything")
    parser.add_argument("--teacher_share", type=float, default=0.25, help="of the minutes, for the teacher's training")
    parser.add_argument("--base", default="tiny-teacher", help="model folder with codec and text encoder")
    parser.add_argument("--channels", type=int, nargs="+", default=[192, 288, 384], help="of the teacher's U-Net")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--contestants", default=",".join(known()), help="names or YAML files, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each contestant")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--clips", type=int, default=40, help="sounds of each class")
    parser.add_argument("--teacher_steps", type=int, default=50, help="of the teacher's solver")
    parser.add_argument("--draws", type=int, default=20, help="random halves of the sounds, for intervals")
    parser.add_argument("--real", type=Path, help="embeddings of the recordings, instead of --esc50")
    parser.add_argument("--esc50", type=Path, help="folder of ESC-50")
    parser.add_argument("--encoder", default=MN04, help="class of another encoder than mn04")
    parser.add_argument("--weights", default="mn04_as_mAP_432.pt", help="of the encoder")
    parser.add_argument("--labels", type=Path, help="AudioSet's classes: index, display_name; a linear probe without")
    return parser.parse_known_args(args)


def main(args: list[str] | None = None) -> None:
    """Teacher, contestants, evaluation, report."""
    started = time.monotonic()
    options, further = parse(args)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    if options.real is None and options.esc50 is None:
        raise DataError("expected --real or --esc50, got neither")
    if options.real is not None:
        shutil.copy(options.real, output / options.real.name)
    further = ["--data.batch_size", str(options.batch_size), *further]

    teacher = output / "teacher" / "model"
    seconds = 60 * options.minutes
    clips_a_second = train_teacher(
        teacher, options.base, options.latents, options.channels, options.teacher_share * seconds, further
    )
    left = max(1.0, seconds - (time.monotonic() - started))  # a second, so that there is some result
    trainings = len(options.contestants.split(",")) * options.seeds
    each = TRAINING * left / trainings
    budget = 1 + round(RATE * 3 * clips_a_second * each)
    print(
        f"teacher: {clips_a_second:.0f} clips/s; {trainings} trainings of {budget} passes, {each:.0f} s each",
        flush=True,
    )
    fractions = [str(fraction) for fraction in options.fractions]
    failed = train.main(
        [
            *("--output", str(output), "--latents", str(options.latents), "--teacher", str(teacher)),
            *("--contestants", options.contestants, "--seeds", str(options.seeds), "--budget", str(budget)),
            *(
                "--fractions",
                *fractions,
                "--unfinished",
                "--every",
                "1000000",
                "--trainer.max_time",
                duration(each),
                *further,
            ),
        ]
    )
    common = ["--output", str(output), "--clips", str(options.clips), "--draws", str(options.draws)]
    common += ["--encoder", options.encoder, "--weights", options.weights]
    common += ["--labels", str(options.labels)] if options.labels else []
    common += ["--esc50", str(options.esc50)] if options.esc50 else []
    reference = ["--reference", f"teacher={teacher}@{options.teacher_steps}"]
    evaluate.main([*common, *reference, "--last"])
    report.main(["--output", str(output)])
    # Curves, queries: as far as time is left.
    for more in ([], ["--last", "--steps", "2", "4"]):
        if time.monotonic() - started < 0.8 * seconds:
            evaluate.main([*common, *more])
            report.main(["--output", str(output)])
    print(f"{time.monotonic() - started:.0f} s in all; failed: {failed or 'none'}")

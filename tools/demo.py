"""A small but complete distillation: a miniature teacher of tones, its one-query student, and wav files of both.

    python tools/demo.py [folder]

All four steps are ordinary `consistency-tta fit` runs of the recipes in lightning_configs/tiny, with smaller numbers.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The networks are so small that a second thread only gets in the first one's way. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from consistency_tta.cli import main
from consistency_tta.datamodules.synthetic import KINDS

RECIPES = Path(__file__).parent.parent / "lightning_configs" / "tiny"

#: 1.28 s of sound: 128 mel frames. The averages are over the last tens of steps, not the last thousand.
COMMON = """
    --data SyntheticDataModule --data.num_clips 512 --data.num_val_clips 8 --data.num_samples 20480 --data.batch_size 8
    --data.num_workers 0 --model.average_decay 0.97 --model.optimization.warmup_steps 10
    --trainer.enable_model_summary false --trainer.limit_val_batches 1
"""
#: What each recipe is given besides, and its number of steps.
STEPS = {
    "autoencoder": (
        200,
        "--model.vae.channels [8,16,32] --model.vae.latent_channels 8 --model.optimization.learning_rate 2e-3",
    ),
    "vocoder": (
        150,
        "--model.vocoder.channels 96 --model.vocoder.num_layers 4 --model.optimization.learning_rate 2e-3",
    ),
    "teacher": (
        400,
        "--model.unet.channels [32,64] --model.unet.attention [false,true] --model.unet.heads [1,2] "
        "--model.unet.latent_channels 8 --model.unet.latent_size [32,16] --model.optimization.learning_rate 1e-3",
    ),
    "consistency": (250, "--model.optimization.learning_rate 3e-4"),
}


def demo(folder: Path) -> None:
    """Train the four models below ``folder`` and generate every caption with teacher and student."""
    started = time.perf_counter()
    previous = ""
    for name, (steps, changes) in STEPS.items():
        print(f"\n== {name}: {steps} steps ({time.perf_counter() - started:.0f} s so far)", flush=True)
        source = {"autoencoder": [], "consistency": ["--model.teacher", previous]}.get(
            name, ["--model.model", previous]
        )
        trainer = f"--trainer.max_steps {steps} --trainer.val_check_interval {steps}"
        settings = [*f"{COMMON} {changes} {trainer}".split(), "--trainer.default_root_dir", str(folder / name), *source]
        main(["fit", "--config", str(RECIPES / f"{name}.yaml"), *settings])
        previous = str(folder / name / "model")
    captions = [caption for caption, _ in KINDS]
    for name in ("teacher", "consistency"):
        print(f"\n== {name}", flush=True)
        model, output = folder / name / "model", folder / "sounds" / name
        main(["generate", *captions, "--model", str(model), "--output", str(output)])
    print(f"\nDone in {time.perf_counter() - started:.0f} s: listen to the files in {folder / 'sounds'}")


if __name__ == "__main__":
    demo(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo"))

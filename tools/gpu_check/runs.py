"""Short runs: no step waits for the device, resumed runs end bit for bit as whole ones, NaN changes nothing."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor

from consistency_tta.datamodules import SyntheticDataModule
from tools.gpu_check.runner import Row, Setting, passed
from tools.gpu_check.trainings import BUNDLED, fit, tiny

#: Steps before one must not wait: the first ones allocate, and compile kernels.
WARM_UP = 2
#: Samples of a clip of the tiny family.
SAMPLES = 81920


class RefuseToWait(Callback):
    """After some steps, makes every wait for the device an error, from the batch to the optimizer's end."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Switch it on; the batch is on the device."""
        if batch_idx >= WARM_UP:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_: Any) -> None:
        """Switch it off: Lightning logs between steps."""
        torch.cuda.set_sync_debug_mode("default")


class CheckpointAt(Callback):
    """Saves a checkpoint after some steps."""

    def __init__(self, step: int, file: Path) -> None:
        self.step, self.file = step, file

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Save it."""
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)


class WeightsAfterSteps(Callback):
    """Copies of the weights after each step."""

    def __init__(self) -> None:
        self.after: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Copy them."""
        self.after.append({name: value.detach().cpu().clone() for name, value in module.state_dict().items()})


def waiting(setting: Setting) -> Iterator[Row]:
    """Three steps of every recipe of the tiny family, in its number format; the third must not wait."""
    if torch.device(setting.device).type != "cuda":
        yield Row("steps that do not wait", "needs CUDA", "not here")
        return
    for stage in BUNDLED:
        training = tiny(stage)
        own = {name: training.trainer[name] for name in ("precision", "gradient_clip_val")}
        batches = [training.batch(4)] * (WARM_UP + 1)
        try:
            fit(training, batches, len(batches), setting, callbacks=[RefuseToWait()], **own)
            yield Row(f"no wait, {stage}")
        except RuntimeError as error:
            ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame[0]]
            yield Row(f"no wait, {stage}", f"{ours[-1].filename}:{ours[-1].lineno}: {error}", "FAILED")
        finally:
            torch.cuda.set_sync_debug_mode("default")


def resuming(setting: Setting) -> Iterator[Row]:
    """A run of four steps, and one that goes on from its checkpoint after two (after one of two, if quick)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS's sums differ from call to call
    torch.use_deterministic_algorithms(True, warn_only=True)
    steps = 2 if setting.quick else 4
    data = {"num_clips": 6, "num_val_clips": 1, "num_samples": SAMPLES, "batch_size": 1}
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "half.ckpt"
        save = CheckpointAt(steps // 2, checkpoint)
        whole = fit(tiny("guidance"), SyntheticDataModule(**data), steps, setting, callbacks=[save])
        resumed = fit(tiny("guidance"), SyntheticDataModule(**data), steps, setting, ckpt_path=checkpoint)
    torch.use_deterministic_algorithms(False)
    expected, got = whole.lightning_module.state_dict(), resumed.lightning_module.state_dict()
    different = [name for name, value in expected.items() if not torch.equal(value, got[name])]
    text = f"{len(different)} of {len(expected)} tensors differ" + (f", {different[0]}" if different else "")
    yield passed("resumed run, bit for bit", not different and expected.keys() == got.keys(), text)


def skipping(setting: Setting) -> Iterator[Row]:
    """A batch of NaN between two good ones."""
    training, weights = tiny("guidance"), WeightsAfterSteps()
    good, broken = training.batch(1), training.batch(1)
    assert broken.moments is not None  # the recipe reads latents
    broken.moments.fill_(torch.nan)
    fit(training, [good, broken, good], 3, setting, callbacks=[weights], max_epochs=1)
    one, two, three = weights.after
    student = [name for name in one if name.startswith("student.")]
    kept = all(torch.equal(one[name], two[name]) for name in student)
    moved = any(not torch.equal(two[name], three[name]) for name in student)
    finite = all(bool(value.isfinite().all()) for value in three.values())
    text = f"weights {'kept' if kept else 'CHANGED'}, then {'trained on' if moved else 'NOT TRAINED'}"
    yield passed("batch of NaN", kept and moved and finite, text + ("" if finite else ", NOT FINITE"))

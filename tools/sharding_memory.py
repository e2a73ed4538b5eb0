"""Memory of each of two processes that train stage 2, with whole networks (ddp) and with sharded ones (fsdp2).

    python -m tools.sharding_memory

Two gloo processes on this machine's CPU (Linux alone), the bundled teacher with a wider U-Net of random weights,
float32. For each strategy: MiB of what a process holds after three steps, and two peaks of its resident memory, less
what it had before there was a model: while networks are loaded and sharded, and from the first step on. The teacher's
file, which is mapped into memory, counts as far as it was read.
"""

from __future__ import annotations

import gc
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.multiprocessing.spawn import spawn

from consistency_tta.datamodules import SyntheticDataModule
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.shared_copies import share_copies
from consistency_tta.training import ConsistencyDistillation, Distillation
from consistency_tta.training.fully_sharded import shards
from consistency_tta.training.shards import local

WIDTHS = (192, 384, 576)
NUM_SAMPLES = 20480  # latents of 16 x 8: weights, not activations, are what is compared
MIB = 2**20


def resident(kind: str) -> float:
    """MiB of this process: ``VmRSS`` now, or ``VmHWM``, the peak."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().rstrip().split("\n"))
    return int(status[kind].split()[0]) / 1024


class LoadingPeak(Callback):
    """The peak until the first step, in MiB; the kernel then starts again."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All is loaded."""
        self.peak = resident("VmHWM")
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(rank: int, folder: Path, strategy: str) -> None:
    """Three steps of one process, and a line."""
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with share_copies() if shards(strategy) else nullcontext():
        module = Distillation(str(folder), ConsistencyDistillation(), {"latent": LatentL2Loss()}, seed=0)
    loading = LoadingPeak()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        max_steps=3,
        callbacks=[loading],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, SyntheticDataModule(num_clips=8, num_samples=NUM_SAMPLES, batch_size=1))
    moments = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    held = [*module.parameters(), *module.frozen.teacher.parameters(), *gradients, *moments]
    mib = sum(local(tensor).nbytes for tensor in held) / MIB
    peaks = f"peak of loading {loading.peak - before:.0f}, of training {resident('VmHWM') - before:.0f} MiB"
    print(f"{strategy}, process {rank}: holds {mib:.0f} MiB, {peaks}", flush=True)


def main() -> None:
    """Measure both strategies, one after the other."""
    # So that memory which is freed leaves the process.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    with tempfile.TemporaryDirectory() as folder:
        pipeline = TextToAudioPipeline.from_pretrained("tiny-teacher")
        changes = {"block_out_channels": WIDTHS, "sample_size": [16, 8]}
        wide = UNet2DConditionModel.from_config(dict(pipeline.unet.config) | changes)
        print(f"{sum(parameter.numel() for parameter in wide.parameters()) / 1e6:.0f} million parameters")
        TextToAudioPipeline(**pipeline.components | {"unet": wide}).save_pretrained(folder)
        for number, strategy in enumerate(("ddp", "fsdp2")):
            os.environ["MASTER_PORT"] = str(20000 + (2 * os.getpid() + number) % 10000)
            spawn(measure, (Path(folder), strategy), nprocs=2)


if __name__ == "__main__":
    main()

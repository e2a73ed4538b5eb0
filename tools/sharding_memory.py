"""Memory of each of two processes that train stage 2, with whole networks (ddp) and with sharded ones (fsdp2).

    python -m tools.sharding_memory

Two gloo processes on this machine's CPU (Linux alone), the bundled teacher with a wider U-Net, text encoder and
autoencoder of random weights. For each strategy: MiB of what a process holds after three steps, and of this of text
encoder and codec; and two peaks of its resident memory, less what it had before there was a model: while networks are
loaded and sharded, and from the first step on. The teacher's file, which is mapped into memory, counts as far as it was
read. All but the last are in float32. The last is in bf16-mixed, with text encoder and codec in bfloat16, whose
original weights here are in the same memory: of it only what is held says what a GPU would hold.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.multiprocessing.spawn import spawn
from transformers import T5EncoderModel

from consistency_tta.datamodules import SyntheticDataModule
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.shared_copies import share_copies
from consistency_tta.training import ConsistencyDistillation, Distillation, FrozenInBfloat16, FullySharded
from consistency_tta.training.shards import local

WIDTHS = (192, 384, 576)
AUTOENCODER_WIDTHS = (64, 128, 256, 512)
TEXT = {"d_ff": 4096, "num_layers": 12}
#: By name: the strategy, and whether text encoder and codec are kept in bfloat16.
SETTINGS: dict[str, tuple[Callable[[], str | FullySharded], bool]] = {
    "ddp": (lambda: "ddp", False),
    "fsdp2": (FullySharded, False),
    "fsdp2, text encoder and codec sharded": (lambda: FullySharded(shard_text_encoder=True, shard_codec=True), False),
    "fsdp2, text encoder and codec in bfloat16": (FullySharded, True),
}
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


def measure(rank: int, folder: Path, name: str) -> None:
    """Three steps of one process, and a line."""
    make, rounded = SETTINGS[name]
    strategy = make()
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with share_copies() if isinstance(strategy, FullySharded) else nullcontext():
        module = Distillation(str(folder), ConsistencyDistillation(), {"latent": LatentL2Loss()}, seed=0)
    others = [*module.frozen.text.parameters(), *module.frozen.codec.parameters()]
    for parameter in others:
        parameter.data = parameter.data.clone()  # as on a GPU; of a mapped file only what is read would count
    del parameter, others
    loading = LoadingPeak()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        max_steps=3,
        precision="bf16-mixed" if rounded else "32-true",
        callbacks=[loading, *([FrozenInBfloat16()] if rounded else [])],
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
    others = [*module.frozen.text.parameters(), *module.frozen.codec.parameters()]
    held = [*module.parameters(), *module.frozen.teacher.parameters(), *gradients, *moments, *others]
    mib, of_others = (sum(local(tensor).nbytes for tensor in tensors) / MIB for tensors in (held, others))
    peaks = f"peak of loading {loading.peak - before:.0f}, of training {resident('VmHWM') - before:.0f} MiB"
    print(f"{name}, process {rank}: holds {mib:.0f} MiB, {of_others:.0f} of text and codec, {peaks}", flush=True)


def main() -> None:
    """Measure all settings, one after the other."""
    # So that memory which is freed leaves the process.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    with tempfile.TemporaryDirectory() as folder:
        pipeline = TextToAudioPipeline.from_pretrained("tiny-teacher")
        changes = {"block_out_channels": WIDTHS, "sample_size": [16, 8]}
        wide = UNet2DConditionModel.from_config(dict(pipeline.unet.config) | changes)
        print(f"{sum(parameter.numel() for parameter in wide.parameters()) / 1e6:.0f} million parameters")
        vae = AutoencoderKL.from_config(dict(pipeline.vae.config) | {"block_out_channels": AUTOENCODER_WIDTHS})
        text = T5EncoderModel(type(pipeline.text_encoder.config)(**pipeline.text_encoder.config.to_dict() | TEXT))
        parts = {"unet": wide, "vae": vae, "text_encoder": text}
        TextToAudioPipeline(**pipeline.components | parts).save_pretrained(folder)
        for number, name in enumerate(SETTINGS):
            os.environ["MASTER_PORT"] = str(20000 + (len(SETTINGS) * os.getpid() + number) % 10000)
            spawn(measure, (Path(folder), name), nprocs=2)


if __name__ == "__main__":
    main()

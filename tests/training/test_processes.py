"""Two processes of batch B train what one of batch 2 B does: whole networks in each, or sharded ones."""

from __future__ import annotations

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.shared_copies import share_copies
from consistency_tta.training import (
    AdversarialDistillation,
    CombinedObjective,
    ConsistencyDistillation,
    ContinuousConsistency,
    DecodingConfig,
    Distillation,
    DistributionMatching,
    EnergyScore,
    ExportFolder,
    FullySharded,
    LoRA,
    StudentConfig,
    TeacherFeatures,
    TrajectoryBackward,
    sharding,
)
from consistency_tta.training.optimizer import trainable_parameters
from consistency_tta.training.shards import local
from tests.toys import UNET_OF_ALL_BLOCKS, toy_parts
from tests.training.runs import batch, data, equal, trainer

pytestmark = pytest.mark.long

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"losses": {"latent": LatentL2Loss()}, "student": StudentConfig(lora=LoRA(rank=2))},
    "decoder": {
        # Which rows need the teacher's trajectories, or the target, differs from process to process.
        "objective": ConsistencyDistillation(terminal_fraction=0.4, teacher_trajectory_fraction=0.3, teacher_steps=2),
        "losses": {"latent": LatentL2Loss(), "mel": MelL2Loss()},
        "decoding": DecodingConfig(train_decoder=True, crop_frames=16, gradient_checkpointing=True),
    },
    "rcm": {
        "losses": {"latent": LatentL2Loss()},
        "objective": CombinedObjective(  # the student and the fake score take turns
            {
                "continuous": ContinuousConsistency(tangent_warmup_steps=2),
                "distribution": DistributionMatching(alternating=True, max_queries=2),
            },
            student_updates="all",
        ),
    },
    # Each compares a row with itself alone, and so are the same for any number of processes.
    "adversary": {"objective": AdversarialDistillation(penalty_weight=0.1)},
    "score": {"objective": EnergyScore(TeacherFeatures(["mid_block"]))},
    "trajectory": {"objective": TrajectoryBackward(num_steps=3)},
    "combination": {
        "losses": {"latent": LatentL2Loss()},
        "objective": CombinedObjective(
            {
                "consistency": ConsistencyDistillation(terminal_fraction=0.3),
                "distribution": DistributionMatching(fake_steps=2),
                "adversarial": AdversarialDistillation(),
            }
        ),
    },
}
#: In the names of what each trains, and of the averages that follow it.
TRAINED = {
    "lora": (r"\.lora_A\.", r"\.lora_B\.", r"\.class_embedding\."),
    "rcm": ("^student", "^average", r"^objective\.objectives\.distribution\.fake"),
    "adversary": ("^student", "^average", r"^objective\.discriminator"),
    "score": ("^student", "^average"),
    "trajectory": ("^student", "^average", "^target"),
    "combination": (
        "^student",
        "^target",
        "^average",
        r"^objective\.objectives\.distribution\.fake",
        r"^objective\.objectives\.adversarial\.discriminator",
    ),
    "decoder": ("^student", "^target", "^average", r"^decoders\.decoder\.parts", r"^decoders\.decoder\.average"),
}


#: Which are also trained sharded, and how: with several queries of a network before a backward pass, features of the
#: teacher's blocks, networks that stay whole, and gradients through a sharded decoder.
SHARDED: dict[str, dict[str, bool]] = {
    "decoder": {"shard_frozen": False, "shard_text_encoder": True, "shard_codec": True},
    "score": {},
}


#: Strategies of a run's two halves.
RESUMED = [("fsdp2", "fsdp2"), ("fsdp2", "ddp"), ("ddp", "fsdp2")]


class Plain(Distillation):
    """Trained by plain descent: Adam would make of a gradient's rounding errors steps as large as any."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        weights = [weight for learner in self.learners().values() for weight in trainable_parameters(learner.module)]
        return torch.optim.SGD(weights, lr=0.2, momentum=0.5)


class SaveHalf(Callback):
    """Saves a checkpoint after two steps."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "half.ckpt")


def train(
    teacher: Path,
    folder: Path,
    setting: str,
    devices: int = 1,
    rank: int = 0,
    strategy: str | FullySharded = "auto",
    checkpoint: Path | None = None,
) -> Plain:
    """Four steps of two accumulated batches; the first process leaves the weights before and after, and the model."""
    torch.manual_seed(rank)  # as adapters are drawn at random, the processes must agree on the first one's
    with share_copies() if isinstance(strategy, FullySharded) else nullcontext():
        module = Plain(
            str(teacher),
            **({"objective": ConsistencyDistillation(), "seed": 0, "ema_decay": 0.5} | SETTINGS[setting]),
        )
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    run = trainer(
        folder,
        max_steps=4,
        gradient_clip_val=0.5,
        accumulate_grad_batches=2,
        devices=devices,
        strategy=strategy,
        callbacks=[ExportFolder(str(folder / "model")), SaveHalf()],
    )
    run.fit(module, data(batch_size=4 // devices), ckpt_path=checkpoint)
    run.save_checkpoint(folder / "last.ckpt")
    sounds = [preview.waveform for preview in module.previews(batch(2))]
    if run.is_global_zero:
        torch.save(before, folder / "before.pt")
        torch.save(sounds, folder / "sounds.pt")
    return module


def weights(folder: Path) -> dict[str, Tensor]:
    """All parameters, of a checkpoint."""
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    names = torch.load(folder / "before.pt", weights_only=True)
    return {name: state[name] for name in names if name in state}


def held_bytes(module: Plain) -> list[int]:
    """In this process: of weights, gradients, averages and teacher; of text encoder and codec."""
    held = [*module.parameters(), *module.frozen.teacher.parameters()]
    held += [p.grad for p in module.parameters() if p.grad is not None]
    others = [*module.frozen.text.parameters(), *module.frozen.codec.parameters()]
    return [sum(local(tensor).nbytes for tensor in tensors) for tensors in (held, others)]


def process(rank: int, teacher: Path, folder: Path) -> None:
    """One of two; Lightning starts no others where the environment gives its rank."""
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    sizes = []
    for setting in SETTINGS:
        module = train(teacher, folder / "ddp" / setting, setting, 2, rank, "ddp")
        sizes.append(held_bytes(module))
    sharding.SMALLEST_UNIT = 0.1  # fewer parts, each of which takes time to gather
    for setting in SHARDED:
        module = train(teacher, folder / "fsdp2" / setting, setting, 2, rank, FullySharded(**SHARDED[setting]))
        sizes.append(held_bytes(module))
    strategies = {"ddp": lambda: "ddp", "fsdp2": FullySharded}
    for before, after in RESUMED:
        half = folder / before / "score/half.ckpt"
        train(teacher, folder / f"{before} {after}", "score", 2, rank, strategies[after](), half)
    if rank == 0:
        names = [f"ddp/{name}" for name in SETTINGS] + [f"fsdp2/{name}" for name in SHARDED]
        (folder / "sizes.json").write_text(json.dumps(dict(zip(names, sizes, strict=True))))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All settings at once, in one and in two processes: to start processes takes longer than to train in them.

    The teacher has text in all blocks, as full-size ones have: blocks are what is sharded.
    """
    folder = tmp_path_factory.mktemp("runs")
    teacher = folder / "teacher"
    torch.manual_seed(0)
    TextToAudioPipeline(**toy_parts(UNET_OF_ALL_BLOCKS)).save_pretrained(teacher)
    with mock.patch.dict(os.environ, {"MASTER_PORT": str(20000 + os.getpid() % 12000)}):
        spawn(process, (teacher, folder / "2"), nprocs=2)
        for setting in SETTINGS:
            train(teacher, folder / "1" / setting, setting)
    train(teacher, folder / "fsdp2 auto", "score", checkpoint=folder / "2/fsdp2/score/half.ckpt")
    return folder


def same(one: dict[str, Tensor], other: dict[str, Tensor], change: float) -> None:
    """Equal up to rounding, compared with how far the weights have moved."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert float((value - other[name]).abs().max()) < 3e-4 * change, name


@pytest.mark.parametrize("setting", SETTINGS)
def test_two_processes_train_like_one(setting: str, runs: Path) -> None:
    before = torch.load(runs / "1" / setting / "before.pt")
    one = weights(runs / "1" / setting)
    change = {name: float((value - before[name]).abs().max()) for name, value in one.items()}
    moved, trained = {name for name in change if change[name]}, TRAINED[setting]
    assert moved <= {name for name in change if any(re.search(part, name) for part in trained)}
    assert all(any(re.search(part, name) for name in moved) for part in trained)
    same(one, weights(runs / "2/ddp" / setting), max(change.values()))
    if setting in SHARDED:
        same(one, weights(runs / "2/fsdp2" / setting), max(change.values()))
        models = [TextToAudioPipeline.from_pretrained(runs / way / setting / "model") for way in ("1", "2/fsdp2")]
        same(models[0].unet.state_dict(), models[1].unet.state_dict(), max(change.values()))
        for part in ("text_encoder", "vocoder"):
            assert equal(*(getattr(model, part).state_dict() for model in models))
        torch.testing.assert_close(*(torch.load(runs / way / setting / "sounds.pt") for way in ("1", "2/fsdp2")))


def test_a_sharded_run_resumes_exactly(runs: Path) -> None:
    straight, resumed = (weights(runs / "2" / name) for name in ("fsdp2/score", "fsdp2 fsdp2"))
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


@pytest.mark.parametrize("resumed", ["2/fsdp2 ddp", "2/ddp fsdp2", "fsdp2 auto"])
def test_a_run_goes_on_sharded_or_not(resumed: str, runs: Path) -> None:
    before, straight = torch.load(runs / "1/score/before.pt"), weights(runs / "1/score")
    change = max(float((value - before[name]).abs().max()) for name, value in straight.items())
    same(straight, weights(runs / resumed), change)


@pytest.mark.parametrize(("setting", "what"), [("score", 0), ("decoder", 1)])
def test_a_process_holds_half_of_what_is_sharded(setting: str, what: int, runs: Path) -> None:
    sizes = json.loads((runs / "2/sizes.json").read_text())
    assert sizes[f"fsdp2/{setting}"][what] < 0.65 * sizes[f"ddp/{setting}"][what]

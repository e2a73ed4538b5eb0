"""Two processes of batch B train what one of batch 2 B does, where more or less than the U-Net is trained."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn

from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.training import (
    AdversarialDistillation,
    CombinedObjective,
    ConsistencyDistillation,
    DecodingConfig,
    Distillation,
    EnergyScore,
    ExportFolder,
    LoRA,
    StudentConfig,
    TeacherFeatures,
    TrajectoryBackward,
)
from consistency_tta.training import DistributionMatching as RealMatching
from consistency_tta.training.optimizer import trainable_parameters
from tests.training.matching import DistributionMatching
from tests.training.runs import data, trainer

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"losses": {"latent": LatentL2Loss()}, "student": StudentConfig(lora=LoRA(rank=2))},
    "decoder": {
        "losses": {"latent": LatentL2Loss(), "mel": MelL2Loss()},
        "decoding": DecodingConfig(train_decoder=True, crop_frames=16, gradient_checkpointing=True),
    },
    "alternation": {"losses": {"latent": LatentL2Loss()}, "objective": DistributionMatching()},
    # Each compares a row with itself alone, and so are the same for any number of processes.
    "adversary": {"objective": AdversarialDistillation(penalty_weight=0.1)},
    "score": {"objective": EnergyScore(TeacherFeatures(["mid_block"]))},
    "trajectory": {"objective": TrajectoryBackward(num_steps=3)},
    "combination": {
        "losses": {"latent": LatentL2Loss()},
        "objective": CombinedObjective(
            {
                "consistency": ConsistencyDistillation(terminal_fraction=0.3),
                "distribution": RealMatching(fake_steps=2),
            }
        ),
    },
}
#: In the names of what each trains, and of the averages that follow it.
TRAINED = {
    "lora": (r"\.lora_A\.", r"\.lora_B\.", r"\.class_embedding\."),
    "alternation": ("^student", "^average", r"^objective\.fake"),
    "adversary": ("^student", "^average", r"^objective\.discriminator"),
    "score": ("^student", "^average"),
    "trajectory": ("^student", "^average", "^target"),
    "combination": (
        "^student",
        "^target",
        "^average",
        r"^objective\.objectives\.distribution\.fake",
    ),
    "decoder": ("^student", "^target", "^average", r"^decoders\.decoder\.parts", r"^decoders\.decoder\.average"),
}


class Plain(Distillation):
    """Trained by plain descent: Adam would make of a gradient's rounding errors steps as large as any."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [weight for learner in self.learners().values() for weight in trainable_parameters(learner.module)], lr=0.3
        )


def train(teacher: Path, folder: Path, setting: str, devices: int = 1, rank: int = 0) -> None:
    """Four steps of two accumulated batches; the first process leaves the weights before and after, and the model."""
    torch.manual_seed(rank)  # as adapters are drawn at random, the processes must agree on the first one's
    module = Plain(
        str(teacher),
        **({"objective": ConsistencyDistillation(), "seed": 0, "ema_decay": 0.5} | SETTINGS[setting]),
    )
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    run = trainer(
        folder,
        max_steps=4,
        accumulate_grad_batches=2,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        callbacks=[ExportFolder(str(folder / "model"))],
    )
    run.fit(module, data(batch_size=4 // devices))
    if run.is_global_zero:
        torch.save([before, {name: value.detach() for name, value in module.named_parameters()}], folder / "weights.pt")


def process(rank: int, teacher: Path, folder: Path) -> None:
    """One of two; Lightning starts no others where the environment gives its rank."""
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    for setting in SETTINGS:
        train(teacher, folder / setting, setting, devices=2, rank=rank)


def test_two_processes_train_like_one(teacher_folder: Path, tmp_path: Path) -> None:
    """All settings at once: to start processes takes longer than to train in them."""
    for devices in (1, 2):
        for setting in SETTINGS:
            (tmp_path / str(devices) / setting).mkdir(parents=True)
    spawn(process, (teacher_folder, tmp_path / "2"), nprocs=2)
    for setting, trained in TRAINED.items():
        train(teacher_folder, tmp_path / "1" / setting, setting)
        before, one = torch.load(tmp_path / "1" / setting / "weights.pt")
        _, two = torch.load(tmp_path / "2" / setting / "weights.pt")
        change = {name: float((value - before[name]).abs().max()) for name, value in one.items()}
        moved = {name for name in change if change[name]}
        assert moved <= {name for name in change if any(re.search(part, name) for part in trained)}
        assert all(any(re.search(part, name) for name in moved) for part in trained)
        for name, value in two.items():
            assert float((value - one[name]).abs().max()) < 3e-4 * max(change.values()), f"{setting}: {name}"

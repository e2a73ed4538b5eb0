"""Short runs of every training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from consistency_tta.components.discriminator import PatchDiscriminator, SpectrogramDiscriminator
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.contracts import Batch, Conditioning, DistillationOutput, Loss, Objective, Optimization
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.losses import AdversarialLoss, LatentL2Loss, MelL1Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import (
    AutoencoderTraining,
    ConsistencyDistillation,
    DecoderRefinement,
    DecodingConfig,
    Distillation,
    GuidanceDistillation,
    LatentDiffusion,
    StudentConfig,
    VocoderTraining,
)
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.step_rng import StepRNG
from tests.toys import MEL, NUM_SAMPLES, VAE, VOCODER

FAST = Optimization(learning_rate=3e-3)


def autoencoder(_: Path, **kwargs: Any) -> AutoencoderTraining:
    settings: dict[str, Any] = {"vae": AutoencoderKL(**VAE), "mel": MelSpectrogram(**MEL), "optimization": FAST}
    return AutoencoderTraining(**(settings | kwargs))


def vocoder(folder: Path, **kwargs: Any) -> VocoderTraining:
    settings: dict[str, Any] = {
        "vocoder": FourierVocoder(**VOCODER),
        "losses": {"mel": MelL1Loss()},
        "crop_frames": 16,
        "optimization": FAST,
    }
    return VocoderTraining(str(folder), **(settings | kwargs))


def diffusion(folder: Path, **kwargs: Any) -> LatentDiffusion:
    return LatentDiffusion(str(folder), **({"optimization": FAST, "seed": 0} | kwargs))


#: Arguments of objective, student and decoding, which tests give flat.
OBJECTIVE = {
    "solver",
    "grid",
    "num_discretization_steps",
    "terminal_fraction",
    "teacher_trajectory_fraction",
    "teacher_steps",
    "weighting",
    "target_ema_decay",
}
STUDENT = {"prediction_type", "guidance_scale", "caption_dropout", "crop_lengths", "lora"}
DECODING = {"train_decoder", "gradient_checkpointing", "crop_frames"}


def distil(objective: type[Objective], folder: Path, **kwargs: Any) -> Distillation:
    """A distillation by an objective, of flat arguments."""

    def taken(names: set[str]) -> dict[str, Any]:
        return {name: kwargs.pop(name) for name in names & kwargs.keys()}

    student = StudentConfig(kwargs.pop("student", None), **taken(STUDENT))
    settings: dict[str, Any] = {
        "objective": objective(**taken(OBJECTIVE)),
        "student": student,
        "decoding": DecodingConfig(**taken(DECODING)),
        "losses": {"latent": LatentL2Loss()},
        "optimization": FAST,
        "seed": 0,  # else that of the last `seed_everything` in this process
    }
    return Distillation(str(folder), **(settings | kwargs))


def guidance(folder: Path, **kwargs: Any) -> Distillation:
    return distil(GuidanceDistillation, folder, **kwargs)


def distillation(folder: Path, **kwargs: Any) -> Distillation:
    return distil(ConsistencyDistillation, folder, **kwargs)


def one_query(module: Distillation) -> TextToAudioPipeline:
    """What the module exports, marked as a student that is queried once."""
    module.objective.one_query = True
    return module.pipeline()


def adversary(**options: Any) -> AdversarialLoss:
    """Of waveforms."""
    return AdversarialLoss(SpectrogramDiscriminator(n_ffts=[128, 256], channels=4), **options)


def adversarial_vocoder(folder: Path, **kwargs: Any) -> VocoderTraining:
    return vocoder(folder, **({"losses": {"mel": MelL1Loss(), "adversary": adversary()}} | kwargs))


def refinement(folder: Path, **kwargs: Any) -> DecoderRefinement:
    patches = AdversarialLoss(PatchDiscriminator(channels=4, num_layers=1), of="mel")
    given = {"losses": {"mel": MelL1Loss(), "adversary": patches}, "loss_weights": {"mel": 4.0}, "crop_frames": 16}
    return DecoderRefinement(str(folder), **(given | {"optimization": FAST} | kwargs))


#: What makes each training, given a teacher's folder.
MAKERS: dict[str, Callable[..., TrainingModule]] = {
    "autoencoder": autoencoder,
    "vocoder": vocoder,
    "adversarial_vocoder": adversarial_vocoder,
    "refinement": refinement,
    "diffusion": diffusion,
    "guidance": guidance,
    "distillation": distillation,
}


def data(batch_size: int = 4, num_clips: int = 24) -> SyntheticDataModule:
    return SyntheticDataModule(
        num_clips=num_clips, num_val_clips=4, num_samples=NUM_SAMPLES, batch_size=batch_size, val_batch_size=4, seed=0
    )


def batch(rows: int = 4) -> Batch:
    """Clips of the four kinds in turn."""
    datamodule = data(num_clips=max(rows, 4))
    return datamodule.collate([datamodule.train_dataset[index] for index in range(rows)])


def trainer(folder: Path, **kwargs: Any) -> Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": folder,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**(settings | kwargs))


class Losses(Callback):
    """Notes the loss of each step, and which clips it saw."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.ids: list[list[str]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]))
        self.ids.append(batch.ids)


class BrokenLoss(Loss):
    """Not finite at some steps, either in its value alone or in its gradient alone.

    Args:
        steps: at which, counted from 0.
        value: what is returned there; 0 for a finite value with a gradient of NaN.
    """

    def __init__(self, steps: set[int], value: float = float("nan")) -> None:
        super().__init__()
        self.steps = steps
        self.value = value
        self.calls = 0

    def forward(self, out: DistillationOutput) -> Tensor:
        plain = (out.student_latent - out.target_latent).square().flatten(1).mean(1)
        broken = self.calls in self.steps
        self.calls += 1
        if not broken:
            return plain
        if self.value:
            return plain + self.value
        # The root's slope at 0 is infinite, and infinity times 0 is NaN.
        return plain + (0 * out.student_latent).abs().sqrt().flatten(1).sum(1)


def in_training(module: TrainingModule, folder: Path) -> Any:
    """The module as it is inside a training step, without one."""
    module.trainer = trainer(folder)
    module.trainer.training = True
    module.log_losses = lambda losses, batch_size: None  # type: ignore[method-assign]
    return module


def rng(batch_idx: int = 0) -> StepRNG:
    return StepRNG(0, 0, batch_idx, torch.device("cpu"))


def inputs(module: Any, rows: int = 2, guidance_scale: float = 3.0) -> tuple[Tensor, Tensor, Conditioning]:
    """z_t, t and conditioning for a student."""
    text = module.embed(Batch(["a tone"] * rows, [""] * rows))
    times = torch.tensor([1000.0, 300.0]).repeat(rows)[:rows]
    return torch.randn(rows, 4, 8, 4), times, Conditioning(text, torch.full((rows,), guidance_scale))


def query_sizes(network: torch.nn.Module) -> list[int]:
    """Batch sizes of a network's queries from now on."""
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda _module, args: sizes.append(len(args[0])))
    return sizes


def snapshot(module: TrainingModule, run: Trainer) -> dict[str, Tensor]:
    """Copies of all that a step changes: weights, averages and the optimizer's state."""
    state = {name: value.detach().clone() for name, value in module.state_dict().items()}
    for index, parameter in enumerate(run.optimizers[0].state_dict()["state"].values()):
        state |= {f"optimizer.{index}.{key}": torch.as_tensor(value).clone() for key, value in parameter.items()}
    return state


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of entries of two nested states that are not equal to the last bit; a tensor's text has four digits."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [found for index, pair in enumerate(pairs) for found in differences(*pair, f"{name}.{index}")]
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    else:
        same = type(one) is type(other) and one == other
    return [] if same else [name]

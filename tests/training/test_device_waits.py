"""No part of a training step waits for the device, and none needs float64 there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.networks import clap
from consistency_tta.contracts import Batch, Conditioning, Objective
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.diffusion.sampler import ConsistencySampler, ODESampler
from consistency_tta.losses import CLAPLoss, LatentL2Loss, MelL1Loss, MelL2Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import (
    AdversarialDistillation,
    CombinedObjective,
    ConsistencyDistillation,
    ConsistencyTraining,
    ContinuousConsistency,
    ContrastiveTraining,
    DistributionMatching,
    LightDecoderTraining,
    LoRA,
    MeanFlow,
)
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.nonfinite_steps import SkipNonFiniteSteps, step_taken
from consistency_tta.training.optimizer import build_optimizer
from consistency_tta.training.step_rng import StepRNG
from tests.components.test_clap import SMALL
from tests.meta_device import META, watched
from tests.toys import LIGHT_DECODER
from tests.training import runs


def audio_stage(folder: Path) -> TrainingModule:
    """Stage 3: losses of the sound, and a decoder trained along, of crops; LoRA."""
    clap(**SMALL).save_pretrained(folder.parent / "clap")
    losses = {
        "clap": CLAPLoss(TransformersClap(str(folder.parent / "clap"))),
        "latent": LatentL2Loss(),
        "mel": MelL2Loss(),
        "stft": MultiResolutionSTFTLoss((64,), (16,), (64,)),
    }
    options = {"train_decoder": True, "crop_frames": 16, "gradient_checkpointing": True, "caption_dropout": 0.5}
    return runs.distillation(
        folder, losses=losses, lora=LoRA(rank=2), teacher_trajectory_fraction=0.4, teacher_steps=1, **options
    )


def contrastive(_: Path) -> TrainingModule:
    return ContrastiveTraining(clap(**SMALL), seed=0)


def light_decoder(folder: Path) -> TrainingModule:
    losses = {"mel": MelL1Loss(), "adversary": runs.adversary()}
    return LightDecoderTraining(str(folder), FourierDecoder(**LIGHT_DECODER), losses, crop_frames=16)


def both_parts() -> Objective:
    """The default recipe's, once distribution matching has joined."""
    consistency = ConsistencyDistillation(terminal_fraction=0.3, teacher_trajectory_fraction=0.2, teacher_steps=1)
    return CombinedObjective({"consistency": consistency, "distribution": DistributionMatching()})


def of_objective(objective: Callable[[], Objective]) -> Callable[[Path], TrainingModule]:
    return lambda folder: runs.distil(objective, folder)


STAGES: dict[str, Callable[[Path], TrainingModule]] = {
    **{
        name: runs.MAKERS[name]
        for name in ("autoencoder", "adversarial_vocoder", "refinement", "diffusion", "guidance")
    },
    "light decoder": light_decoder,
    "audio": audio_stage,
    "contrastive": contrastive,
    "adversarial": of_objective(AdversarialDistillation),
    "both parts": of_objective(both_parts),
    "consistency training": of_objective(ConsistencyTraining),
    "continuous consistency": of_objective(ContinuousConsistency),
    "flow map": of_objective(MeanFlow),
}


def batch(module: TrainingModule) -> Batch:
    """Sounds that a datamodule has copied to the device."""
    if isinstance(module, ContrastiveTraining):
        data = SyntheticDataModule(num_clips=4, num_samples=8000)
        made = data.collate([data.train_dataset[index] for index in range(4)])
    else:
        made = runs.batch()
    assert made.waveform is not None
    return replace(made, waveform=made.waveform.to(META))


def take_step(module: Any, given: Batch) -> None:
    """Loss, gradients, clipping, the check for gradients that are not finite, optimizer and averages."""
    module.training_step(given, 0).backward()
    module.on_after_backward()
    optimizer = build_optimizer(module.learners(), module.optimization, 10, fused=True)["optimizer"]
    module.trainer.strategy.optimizers = [optimizer]
    SkipNonFiniteSteps().on_before_optimizer_step(module.trainer, module, optimizer)
    module.configure_gradient_clipping(optimizer, 1.0, "norm")
    optimizer.step()
    module.update_averages(step_taken(optimizer))


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_step_never_waits(stage: str, teacher_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = runs.in_training(STAGES[stage](teacher_folder), tmp_path)
    module.log = lambda *args, **kwargs: None
    module.rng = lambda index: StepRNG(0, 0, index, META)
    module.setup("fit")
    module.to(META)
    given = batch(module)
    with watched() as faults:
        take_step(module, given)
    assert faults.found == set()


def test_sampling_and_griffin_lim_never_wait(teacher_folder: Path) -> None:
    parts = TextToAudioPipeline.from_pretrained(teacher_folder)
    parts.register_modules(vocoder=GriffinLimVocoder(model_in_dim=16))
    denoiser, codec, text = (part.eval().to(META) for part in (parts.denoiser, parts.codec, parts.text))
    noise = torch.randn(2, *denoiser.latent_shape, device=META)
    with watched() as faults, torch.no_grad():
        guided = CFGDenoiser(denoiser, text([""]), 3.0)
        for sampler in (ODESampler(num_steps=2, solver="Heun"), ConsistencySampler(num_steps=2)):
            latent, _ = sampler.sample(guided, noise, Conditioning(text(["a dog", "rain on a roof"])))
        assert codec.decode(latent).shape == (2, 1, runs.NUM_SAMPLES)
        codec.encode(torch.randn(2, 1, runs.NUM_SAMPLES, device=META))
    assert faults.found == set()

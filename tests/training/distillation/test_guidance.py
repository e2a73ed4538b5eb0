"""Stage 1: one query learns what guidance does in two; what it leaves is a diffusion model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr

from consistency_tta.cli import main
from consistency_tta.contracts import Conditioning, DistillationOutput, Loss, Optimization
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.diffusion.weighting import MinSNR, Uniform
from consistency_tta.losses import LatentL2Loss, MelL1Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.storage.shards import write_shard
from tests.toys import toy_parts
from tests.training.runs import batch, data, guidance, in_training, inputs, query_sizes, rng, trainer

RECIPE = Path(__file__).parents[3] / "lightning_configs" / "tiny" / "guidance.yaml"


def test_it_starts_at_the_teachers_conditional_denoiser(teacher_folder: Path) -> None:
    module = guidance(teacher_folder)
    z_t, t, conditioning = inputs(module)
    expected = module.frozen.teacher.denoiser(z_t, t, Conditioning(conditioning.text))
    torch.testing.assert_close(module.student(z_t, t, conditioning), expected)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
def test_the_loss_is_the_papers(prediction_type: str, teacher_folder: Path, tmp_path: Path) -> None:
    """Of the guided velocity with the weight min(SNR, 5) / (SNR + 1), or of the guided noise with min(SNR, 5) / SNR."""
    parts = TextToAudioPipeline.from_pretrained(teacher_folder)
    scheduler = DDIMScheduler.from_config(parts.scheduler.config, prediction_type=prediction_type)
    parts.register_modules(scheduler=scheduler)
    parts.save_pretrained(tmp_path / "teacher")
    module = in_training(guidance(tmp_path / "teacher"), tmp_path)
    torch.nn.init.normal_(module.student.unet.class_embedding.linear_2.weight)
    loss = module.loss(batch(4), rng())

    again = rng()  # the same draws, in the same order
    z_0 = module.latents(batch(4), again)
    k = again.integers(1000, 4)  # timesteps of diffusers
    w = 6 * again.uniform(4)
    epsilon = again.normal_like(z_0)
    assert (k < 999).all()  # where z_t would be pure noise
    z_t = scheduler.add_noise(z_0, epsilon, k)
    teacher, text = parts.unet, parts.text
    captions, nothing = text(batch(4).captions), text([""] * 4)
    with torch.no_grad():
        with_caption, without = (
            teacher(z_t, k, encoder_hidden_states=one.embedding, encoder_attention_mask=one.mask).sample
            for one in (captions, nothing)
        )
        target = without + w[:, None, None, None] * (with_caption - without)
    error = (module.student.predict(z_t, k + 1.0, Conditioning(captions, w)) - target).square().mean((1, 2, 3))
    snr = compute_snr(scheduler, k)
    weight = snr.clamp(max=5) / (snr + 1 if prediction_type == "v_prediction" else snr)
    torch.testing.assert_close(loss, (weight * error).mean(), rtol=1e-3, atol=1e-6)


def test_another_weighting_is_used(teacher_folder: Path, tmp_path: Path) -> None:
    values = {
        weighting: float(
            in_training(guidance(teacher_folder, weighting=weighting), tmp_path).loss(batch(4), rng()).detach()
        )
        for weighting in (None, MinSNR(), Uniform())
    }
    plain, paper, uniform = values.values()
    assert plain == paper != uniform


def test_losses_compose_and_sound_is_exempt_from_the_weighting(teacher_folder: Path, tmp_path: Path) -> None:
    losses: dict[str, Loss] = {"latent": LatentL2Loss(), "mel": MelL1Loss()}
    module = guidance(teacher_folder, losses=losses, loss_weights={"mel": 0.5})
    torch.nn.init.normal_(module.student.unet.class_embedding.linear_2.weight)
    outs: list[DistillationOutput] = []
    module.losses["mel"].register_forward_pre_hook(lambda _module, args: outs.append(args[0]))
    loss = in_training(module, tmp_path).loss(batch(4), rng())
    [out] = outs
    assert torch.equal(out.t, out.s)
    assert out.student_latent.requires_grad
    assert not out.target_latent.requires_grad
    codec = module.frozen.codec
    mel = (codec.latent_to_mel(out.student_latent) - codec.latent_to_mel(out.target_latent)).abs().mean()
    latent = (out.student_latent - out.target_latent).square().mean((1, 2, 3))
    expected = (latent * MinSNR()(out.t, module.schedule)).mean() + 0.5 * mel
    torch.testing.assert_close(loss, expected)
    mel.backward()
    assert module.student.unet.conv_in.weight.grad.abs().sum() > 0


def test_it_learns_guidance(teacher_folder: Path, tmp_path: Path) -> None:
    """With the plain error of all noise levels alike, it comes nearer to the guided teacher than where it starts."""
    slow = Optimization(learning_rate=3e-4)
    module = guidance(teacher_folder, weighting=Uniform(), guidance_scale=(3.0, 6.0), optimization=slow)
    [before] = trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)
    trainer(tmp_path, max_steps=40).fit(module, data(batch_size=8))
    [after] = trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)
    assert after["val/loss"] < 0.7 * before["val/loss"]
    assert any(name.startswith("val/loss/latent_t/") for name in after)


def test_a_fixed_guidance_scale_is_kept(teacher_folder: Path, tmp_path: Path) -> None:
    module = guidance(teacher_folder, guidance_scale=3.0)
    scales: list[torch.Tensor] = []
    module.student.guidance_embedding.register_forward_pre_hook(lambda _module, args: scales.append(args[0]))
    trainer(tmp_path, max_steps=2).fit(module, data())
    assert torch.equal(torch.cat(scales), torch.full((8,), 3.0))
    assert module.pipeline().config["guidance_range"] == [3.0, 3.0]


@pytest.mark.parametrize("solver", [DDIM(), Heun()])
def test_its_folder_generates_with_half_the_queries(solver: DDIM | Heun, teacher_folder: Path, tmp_path: Path) -> None:
    module = guidance(teacher_folder)
    torch.nn.init.normal_(module.average.module.unet.class_embedding.linear_2.weight)
    module.pipeline().save_pretrained(tmp_path)
    folder = TextToAudioPipeline.from_pretrained(tmp_path)
    folder.set_progress_bar_config(disable=True)
    assert folder.sampler.one_query is False
    assert folder.config["guidance_range"] == [0.0, 6.0]
    assert folder.scheduler.config.prediction_type == "v_prediction"

    scales: list[torch.Tensor] = []
    folder.guidance_embedding.register_forward_pre_hook(lambda _module, args: scales.append(args[0]))
    rows, noise = query_sizes(folder.unet), torch.randn(2, 4, 8, 4)
    made = folder(["a dog", "rain"], 4.0, 5, solver=solver, latents=noise)
    assert made.queries == 5 * solver.queries_per_step
    assert rows == [2] * made.queries
    assert torch.equal(torch.cat(scales), torch.full((2 * made.queries,), 4.0))
    weaker = folder(["a dog", "rain"], 1.0, 5, solver=solver, latents=noise)
    assert weaker.queries == made.queries
    assert not torch.allclose(made.latent, weaker.latent, atol=1e-3)


def test_an_untrained_one_generates_what_its_teacher_does_without_guidance(teacher_folder: Path) -> None:
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    student, noise = guidance(teacher_folder).pipeline(), torch.randn(1, 4, 8, 4)
    for pipeline in (teacher, student):
        pipeline.set_progress_bar_config(disable=True)
    expected = teacher("a dog", 1.0, 6, latents=noise).latent
    torch.testing.assert_close(student("a dog", 5.0, 6, latents=noise).latent, expected, rtol=1e-3, atol=1e-4)
    # Guided from outside it is the teacher with guidance, then at the teacher's queries.
    expected = teacher("a dog", 3.0, 6, latents=noise)
    outside = student("a dog", 5.0, 6, latents=noise, external_guidance_scale=3.0)
    torch.testing.assert_close(outside.latent, expected.latent, rtol=1e-3, atol=1e-4)
    assert outside.queries == expected.queries == 12


def test_wrong_teachers_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    guidance(teacher_folder).pipeline().save_pretrained(tmp_path / "stage_1")
    with pytest.raises(ModelFolderError):
        guidance(tmp_path / "stage_1")
    parts = toy_parts()
    parts.pop("unet")
    TextToAudioPipeline(**parts).save_pretrained(tmp_path / "half")
    with pytest.raises(ModelFolderError, match="unet"):
        guidance(tmp_path / "half")
    with pytest.raises(ConfigurationError, match="caption_dropout"):
        guidance(teacher_folder, caption_dropout=1.0)


def test_the_recipe_runs_as_a_tiny_twin(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        write_shard(tmp_path / "latents" / split, 0, torch.randn(4, 8, 8, 4), ["a dog"] * 4, list("abcd"))
    monkeypatch.setenv("LATENTS", str(tmp_path / "latents"))
    small = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "1", "--trainer.limit_val_batches", "1"]
    small += ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.enable_progress_bar", "false"]
    small += ["--data.batch_size", "2", "--data.num_workers", "0", "--model.teacher", str(teacher_folder)]
    main(["fit", "--config", str(RECIPE), *small])
    folder = tmp_path / "runs" / "tiny" / "guidance"
    assert TextToAudioPipeline.from_pretrained(folder / "model")("a dog", 3.0, 2).queries == 2
    assert list(folder.rglob("sounds/*.wav"))
    [metrics] = folder.rglob("metrics.csv")
    assert "val/loss/latent_t/" in metrics.read_text()
    # Its checkpoint is a stage of its own for `export`, too.
    [checkpoint] = folder.rglob("last.ckpt")
    main(["export", str(checkpoint), "--output", str(tmp_path / "exported")])
    assert TextToAudioPipeline.from_pretrained(tmp_path / "exported").guidance_embedding is not None

"""This project's side of the comparison: what ``record.py`` records, computed from the same weights, inputs and draws.

The weights go through ``consistency_tta.convert``, under the official names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from transformers import ByT5Tokenizer

from consistency_tta.contracts import (
    Batch,
    Conditioning,
    DistillationOutput,
    Loss,
    Solver,
    TimeGrid,
)
from consistency_tta.convert.consistencytta import consistencytta
from consistency_tta.convert.unet import guided_unet
from consistency_tta.diffusion import sample
from consistency_tta.diffusion.grid import KarrasGrid, LinspaceGrid
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.diffusion.weighting import MinSNR
from consistency_tta.losses import CLAPLoss, LatentL2Loss, MelL2Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import ConsistencyDistillation, Distillation, GuidanceDistillation, StudentConfig
from consistency_tta.training.ema import ExponentialMovingAverage
from tests.convert import published
from tests.parity import draws
from tests.parity.peculiarities import (
    DDIMGrid,
    OfficialGrid,
    StandInCLAP,
    like_official_sound,
    log_interpolated,
)
from tests.training.runs import in_training

#: Times of the project are one more than diffusers' timesteps.
TIMES = torch.tensor(draws.TIMESTEPS, dtype=torch.float64) + 1
SCALES = torch.tensor(draws.GUIDANCE_SCALES)
ROWS = len(draws.CAPTIONS)

#: What generation starts from, and the fresh noise of three more queries.
NOISES = ("noise z_T", "fresh 0", "fresh 1", "fresh 2")

UNETS = ("teacher_unet.", "student_unet.", "student_target_unet.", "student_ema_unet.")


def official_shapes() -> dict[str, published.Shapes]:
    """Names and shapes of the official model's parts, by what stands before them."""
    vocoder = published.HifiGan(draws.MEL[1], draws.VOCODER_CHANNELS)
    autoencoder = published.Autoencoder(**draws.AUTOENCODER, latent=draws.LATENT[0], vocoder=vocoder)
    unets = {prefix: published.unet(**draws.UNET, guided=prefix != "teacher_unet.") for prefix in UNETS}
    return unets | {"text_encoder.": published.t5(**draws.T5), "vae.": published.shapes_of(autoencoder)}


def official_weights() -> dict[str, Tensor]:
    """What the recording's checkpoint holds."""
    return {
        prefix + name: tensor
        for prefix, shapes in official_shapes().items()
        for name, tensor in draws.weights(shapes, prefix).items()
    }


class Given:
    """In the place of ``StepRNG``: draws that are given, in turn."""

    def __init__(self, normal: Sequence[Tensor] = (), uniform: Tensor | None = None, integers: Tensor | None = None):
        self.queue, self.drawn_uniform, self.drawn_integers = list(normal), uniform, integers

    def to_device(self, drawn: Tensor) -> Tensor:
        return drawn

    def normal_like(self, example: Tensor) -> Tensor:
        drawn = self.queue.pop(0)
        assert drawn.shape == example.shape
        return drawn

    def uniform(self, batch_size: int) -> Tensor | None:
        return self.drawn_uniform

    def integers(self, high: int, batch_size: int) -> Tensor | None:
        return self.drawn_integers


class Ours:
    """Model folders made of an official checkpoint, and what they compute.

    Args:
        folder: where the model folders are written.
        checkpoint: the official one; made anew, from the same draws, if not given.
    """

    def __init__(self, folder: Path, checkpoint: Path | None = None) -> None:
        self.folder = folder
        if checkpoint is None:
            checkpoint = folder / "pytorch_model_2.bin"
            torch.save(official_weights(), checkpoint)
        self.weights: dict[str, Tensor] = torch.load(checkpoint, weights_only=True)
        ByT5Tokenizer().save_pretrained(folder / "t5")
        self.student = self.converted(checkpoint, "student")
        self.teacher = self.converted(checkpoint, "teacher")
        self.schedule = self.teacher.denoiser.schedule
        with torch.no_grad():
            self.text = self.student.text(draws.CAPTIONS)
            self.empty = self.student.text([""])

    def converted(self, checkpoint: Path, network: Any) -> TextToAudioPipeline:
        """One of the checkpoint's networks, through a model folder."""
        pipeline = consistencytta([checkpoint], str(self.folder / "t5"), draws.SCALE_FACTOR, network)
        pipeline.unet.register_to_config(sample_size=list(draws.LATENT[1:]))  # no weight tells
        pipeline.save_pretrained(self.folder / network)
        return TextToAudioPipeline.from_pretrained(self.folder / network)

    def network(self, prefix: str, weights: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """The U-Net and the guidance embedding of other official weights."""
        found = weights or {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}
        unet, embedding = guided_unet(found, draws.LATENT[1:], prefix)
        return {"unet": unet, "guidance_embedding": embedding}

    def conditioning(self, rows: int = ROWS) -> Conditioning:
        return Conditioning(self.text, SCALES).rows(torch.arange(rows))

    def batch(self, z_0: Tensor) -> Batch:
        """Latents that are their posterior's mean, with captions and recordings."""
        mean = z_0 / self.student.vae.config.scaling_factor
        moments = torch.cat([mean, torch.full_like(mean, -30.0)], dim=1)
        captions = draws.CAPTIONS[: len(z_0)]
        return Batch(captions, captions, draws.waveform()[torch.arange(len(z_0)) % 2], moments, self.text)

    def stage_1(self, timesteps: Sequence[int], unit_noise: bool = False) -> dict[str, Tensor]:
        """Loss and gradients of guidance distillation.

        Args:
            timesteps: of the examples.
            unit_noise: whether the top timestep starts from noise of variance 1, as in the official stage 1.
        """
        module = in_training(
            Distillation(str(self.folder / "teacher"), GuidanceDistillation(), {"latent": LatentL2Loss()}), self.folder
        )
        network = self.network("student_unet.")
        module.student.unet, module.student.guidance_embedding = network["unet"], network["guidance_embedding"]
        noise = draws.normal("epsilon", ROWS, *draws.LATENT)
        if unit_noise:
            module.add_noise = lambda z_0, epsilon, t: epsilon
        z_0 = draws.normal("z_0", ROWS, *draws.LATENT)
        given = Given([torch.zeros_like(z_0), noise], SCALES / 6, torch.tensor(timesteps))
        return self.results(module, module.loss(self.batch(z_0), given))

    def stage_2(
        self,
        losses: dict[str, Loss],
        loss_weights: dict[str, float],
        official_sound: bool = False,
        solver: Solver | None = None,
        points: TimeGrid | None = None,
    ) -> Any:
        """Loss and gradients of consistency distillation on the official grid.

        Args:
            losses: by name.
            loss_weights: by name.
            official_sound: whether waveforms are made as there.
            solver: of the teacher's steps; Heun if not given. DDIM starts from noise as there.
            points: of the official grid; the published training's if not given.
        """
        folder = self.folder / "stage 2"
        if not folder.exists():
            start = self.student
            parts = {
                name: part for name, part in start.components.items() if name not in ("unet", "guidance_embedding")
            }
            parts |= self.network("student_unet.") | {"distilled": True, "guidance_range": [0.0, 6.0]}
            TextToAudioPipeline(**parts).save_pretrained(folder)
        objective = ConsistencyDistillation(
            solver=solver,
            grid=OfficialGrid(points),
            num_discretization_steps=17,
            teacher_steps=0,
            weighting=MinSNR(),
        )
        student = StudentConfig(str(folder), prediction_type="sample")
        module = Distillation(str(self.folder / "teacher"), objective, losses, loss_weights, student)
        target = self.network("student_target_unet.")
        module.target.module.unet, module.target.module.guidance_embedding = (
            target["unet"],
            target["guidance_embedding"],
        )
        z_0 = draws.normal("z_0", ROWS, *draws.LATENT)
        in_training(module, self.folder).to(z_0.dtype)
        if official_sound:
            like_official_sound(module.frozen.codec)
        if isinstance(solver, DDIM):
            module.add_noise = self.noisy_for_ddim
        noise = [torch.zeros_like(z_0), draws.normal("epsilon", ROWS, *draws.LATENT)]
        given = Given(noise, SCALES.to(z_0.dtype) / 6, torch.tensor(draws.GRID_INDICES))
        return self.results(module, module.loss(self.batch(z_0), given))

    def results(self, module: Any, loss: Tensor) -> dict[str, Tensor]:
        """Loss, the norm of all gradients and some of them."""
        loss.backward()
        grads = {name: parameter.grad for name, parameter in module.student.unet.named_parameters()}
        chosen = ("conv_in.bias", "class_embedding.linear_2.bias", "mid_block.resnets.0.conv1.bias", "conv_out.bias")
        return {
            "loss": loss.detach()[None],
            "gradient_norm": torch.stack([grad.double().norm() for grad in grads.values()]).norm().float()[None],
            "gradient": torch.cat([grads[name] for name in chosen]),
        }

    @torch.no_grad()
    def networks(self) -> dict[str, Tensor]:
        """Text encoder and student."""
        z_t = draws.normal("z_t", ROWS, *draws.LATENT)
        return {
            "text.captions": self.text.embedding * self.text.mask[..., None],
            "text.mask": self.text.mask.float(),
            "text.empty": self.empty.embedding[0],
            "student.output": self.student.denoiser.predict(z_t, TIMES, self.conditioning()),
        }

    @torch.no_grad()
    def guided(self) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The guided teacher's z_0, and what makes z_0 of the official answer, which is v."""
        z_t = draws.normal("z_t", ROWS, *draws.LATENT)
        alpha, sigma = (expand(value(TIMES), z_t).float() for value in (self.schedule.alpha, self.schedule.sigma))
        denoiser = CFGDenoiser(self.teacher.denoiser, self.empty)
        return denoiser(z_t, TIMES, self.conditioning()), lambda v: alpha * z_t - sigma * v

    @torch.no_grad()
    def teacher_step(self, solver: Solver | None = None, points: TimeGrid | None = None) -> Tensor:
        """One guided step, of Heun if not given, from four points of a grid, the published training's if not given."""
        denoiser = CFGDenoiser(self.teacher.denoiser, self.empty)
        schedule = self.teacher.denoiser.schedule
        times, index = (points or LinspaceGrid())(schedule, 18).float(), torch.tensor(draws.GRID_INDICES)
        t, s = times[index], times[index + 1]
        z_0, epsilon = (draws.normal(name, ROWS, *draws.LATENT) for name in ("z_0", "epsilon"))
        if isinstance(solver, DDIM):
            z_t = self.noisy_for_ddim(z_0, epsilon, t)
        else:
            z_t = torch.where(expand(t == 1000, z_0), schedule.prior(epsilon), schedule.add_noise(z_0, epsilon, t))
        return (solver or Heun())(denoiser, z_t, t, s, self.conditioning())

    def noisy_for_ddim(self, z_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """z_t of the official DDIM, whose first point, of those t, is noise of variance 1."""
        return torch.where(expand(t == t.max(), z_0), epsilon, self.schedule.add_noise(z_0, epsilon, t))

    def ddim(self) -> dict[str, Tensor]:
        """The official DDIM: its points, a step of it, generation and stage 2."""
        points = DDIMGrid()(self.schedule, 18)
        latents = {"step": self.teacher_step(DDIM(), DDIMGrid())} | self.ddim_generation(points)
        trained = self.stage_2({"latent": LatentL2Loss()}, {}, solver=DDIM(), points=DDIMGrid())
        return (
            {"ddim.timesteps": points[:-1] - 1}
            | {f"ddim.{name}": draws.thinned(latent) for name, latent in latents.items()}
            | {f"stage2_ddim.{name}": tensor for name, tensor in trained.items()}
        )

    @torch.no_grad()
    def ddim_generation(self, points: Tensor) -> dict[str, Tensor]:
        """From noise of variance 1 at the first point; this project's own generation starts from z_T, at T, alone."""
        noise, *fresh = (draws.normal(name, 1, *draws.LATENT) for name in NOISES)
        conditioning = Conditioning(self.student.text(draws.CAPTIONS[:1]), torch.tensor([3.0]))
        student, teacher = self.student.denoiser, CFGDenoiser(self.teacher.denoiser, self.empty)
        first, *later = (time[None].float() for time in (points[0], *DDIMGrid()(self.schedule, 4)[1:-1]))
        z_0 = student(noise, first, conditioning)
        for t, epsilon in zip(later, fresh, strict=True):
            z_0 = student(self.schedule.add_noise(z_0, epsilon, t), t, conditioning)
        z = noise
        for t, s in pairwise(points[:-1].float()):
            z = DDIM()(teacher, z, t[None], s[None], conditioning)
        # The official 18th step, from timestep 0, is one to the same noise level: it changes nothing.
        return {"four_queries": z_0, "teacher_trajectory": z}

    def karras(self, official_times: bool = True) -> dict[str, Tensor]:
        """Heun at Karras's times: these, their noise levels, a step, generation and stage 2.

        Args:
            official_times: whether a noise level between two timesteps has the time that it has there.
        """
        with log_interpolated() if official_times else contextlib.nullcontext():
            schedule, grid = self.teacher.denoiser.schedule, KarrasGrid()
            points = grid(schedule, 18)[:-1]
            latents = {
                "step": self.teacher_step(points=grid),
                "four_queries": self.several_queries(grid),
                "teacher_trajectory": self.trajectory(Heun(), grid),
            }
            trained = self.stage_2({"latent": LatentL2Loss()}, {}, points=grid)
        return (
            {"karras.timesteps": points - 1, "karras.sigmas": schedule.ratio(points)}
            | {f"karras.{name}": draws.thinned(latent) for name, latent in latents.items()}
            | {f"stage2_karras.{name}": tensor for name, tensor in trained.items()}
        )

    @torch.no_grad()
    def averages(self, warm_up: bool = False) -> dict[str, Tensor]:
        """The target network and the evaluation average after five updates."""
        found = {}
        for prefix, decay in (("student_target_unet.", 0.95), ("student_ema_unet.", 0.999)):
            source = self.student.denoiser
            network = self.network(prefix)
            source.unet, source.guidance_embedding = network["unet"], network["guidance_embedding"]
            average = ExponentialMovingAverage(source, decay, warm_up)
            shapes = dict(official_shapes()["student_unet."])
            frozen = {"guidance_proj.weight": self.weights["student_unet.guidance_proj.weight"]}
            shapes.pop("guidance_proj.weight")
            for update in range(5):
                weights = draws.weights(shapes, f"update {update}: student_unet.") | frozen
                network = self.network("", weights)
                source.unet, source.guidance_embedding = network["unet"], network["guidance_embedding"]
                average.update(source)
            state = average.module.get_submodule("unet").state_dict()
            everything = average.module.state_dict().values()
            name = f"ema.{prefix[:-1]}"
            found[name] = torch.cat([state["conv_in.bias"], state["conv_out.weight"].flatten()])
            found[f"{name}.norm"] = torch.cat([tensor.flatten().double() for tensor in everything]).norm().float()[None]
        return found

    def several_queries(self, grid: TimeGrid | None) -> Tensor:
        """The student in four queries, with the recording's fresh noise."""
        noise, *fresh = (draws.normal(name, 1, *draws.LATENT) for name in NOISES)
        with mock.patch.object(sample, "randn_tensor", side_effect=fresh):
            return self.student.sample(draws.CAPTIONS[0], 3.0, 4, grid=grid, latents=noise)[0]

    def trajectory(self, solver: Solver, grid: TimeGrid | None) -> Tensor:
        """The guided teacher in 18 steps."""
        self.teacher.set_progress_bar_config(disable=True)
        noise = draws.normal("noise z_T", 1, *draws.LATENT)
        return self.teacher.sample(draws.CAPTIONS[0], 3.0, 18, solver, grid, latents=noise)[0]

    def generation(self) -> dict[str, Tensor]:
        """All of it through the pipeline."""
        caption, noise = draws.CAPTIONS[0], draws.normal("noise z_T", 1, *draws.LATENT)
        return {
            "generation.one_query": self.student.sample(caption, 3.0, latents=noise)[0],
            "generation.four_queries": self.several_queries(LinspaceGrid()),
            "generation.external_guidance": self.student.sample(
                caption, 3.0, latents=noise, external_guidance_scale=2.0
            )[0],
            "generation.teacher_trajectory": self.trajectory(Heun(), LinspaceGrid()),
        }

    @torch.no_grad()
    def sound(self, mel: Tensor, decoded: Tensor) -> dict[str, Tensor]:
        """Front end, autoencoder and vocoder; encoder and vocoder are given the official mels."""
        codec = self.student.codec
        moments = codec.mel_to_moments(mel)
        return {
            "mel": codec.waveform_to_mel(draws.waveform()),
            "encode.draw": codec.moments_to_latent(moments, draws.normal("posterior", 2, *draws.LATENT)),
            "decode.mel": codec.latent_to_mel(draws.normal("z_0", 1, *draws.LATENT)),
            "vocoder.waveform": codec.mel_to_waveform(decoded),
        }

    def losses(self, official_sound: bool = True) -> dict[str, Tensor]:
        """The official sums of losses, per example, before the noise weighting."""
        codec = self.student.codec
        if official_sound:
            like_official_sound(codec)
        student, target = (draws.normal(name, 2, *draws.LATENT) for name in ("loss student", "loss target"))
        t = torch.ones(2)
        out = DistillationOutput(student, target, target, t, t, t, self.batch(target), codec)
        with torch.no_grad():
            plugins = (LatentL2Loss(), MelL2Loss(), CLAPLoss(StandInCLAP()), MultiResolutionSTFTLoss(floor=1e-4))
            latent, mel, clap, stft = (loss(out) for loss in plugins)
        return {
            "loss.mse": latent,
            "loss.mel": 0.7 * latent + 0.3 * mel,
            "loss.clap": latent + 0.1 * clap,
            "loss.stft": 0.8 * latent + 0.1 * stft,
        }

"""Runs the official ConsistencyTTA at reduced width and records what it computes.

    python -m tests.parity.record OFFICIAL OUTPUT

runs in an environment of its own (docs/parity.md), with a checkout of https://github.com/Bai-YT/ConsistencyTTA in the
folder OFFICIAL, and writes to the folder OUTPUT ``recorded.safetensors`` and a checkpoint of the official model,
``pytorch_model_2.bin``. Nothing of the official code is changed; what is missing or hard-coded is put in its place
from outside, each time with the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import json
import platform
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import accelerate
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.parity import draws


class StandInCLAP(nn.Module):
    """For ``laion_clap.CLAP_Module``, whose weights are 2 GB."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()

    def load_ckpt(self, path: str) -> None:
        """Nothing to load."""

    def get_audio_embedding_from_data(self, waveform: Tensor, use_tensor: bool) -> Tensor:
        return draws.embed_audio(waveform)

    def get_text_embedding(self, captions: list[str], use_tensor: bool) -> Tensor:
        return draws.embed_text(captions)


def stand_ins(official: Path) -> None:
    """Modules that the official code imports and this comparison does not use."""

    def module(name: str, **content: Any) -> None:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)  # libraries look for it
        vars(sys.modules[name]).update(content)

    def same(waveform: Tensor, **settings: Any) -> Tensor:
        return waveform

    module("laion_clap", CLAP_Module=StandInCLAP)
    module("torchaudio")
    # The resampler is torchaudio's, not the official code's; the stand-in for CLAP listens at 16 kHz.
    module("torchaudio.functional", resample=same)
    for name in ("wandb", "progressbar", "resampy"):
        module(name)
    # The packages' own __init__ import all of AudioLDM, and its CLAP; only their submodules are needed.
    for name in ("audioldm", "audioldm.audio"):
        module(name, __path__=[str(official / name.replace(".", "/"))])


@contextlib.contextmanager
def drawn(**queues: list[Tensor]) -> Iterator[None]:
    """Lets torch's functions of these names return tensors of these lists, in turn."""

    def take(queue: list[Tensor]) -> Any:
        return lambda *args, **kwargs: queue.pop(0)

    with contextlib.ExitStack() as stack:
        for name, queue in queues.items():
            stack.enter_context(mock.patch.object(torch, name, take(queue)))
        yield
    left = {name: len(queue) for name, queue in queues.items() if queue}
    assert not left, f"draws that nobody asked for: {left}"


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of the sorted lines "name (shape)", as in tests/convert/published.py."""
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def fill(module: nn.Module, prefix: str) -> None:
    """Give a module the weights that belong to its names."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    module.load_state_dict(draws.weights(shapes, prefix))


def files(output: Path) -> dict[str, str]:
    """What the official code reads: a U-Net's configuration, a scheduler and a text encoder."""
    settings = draws.UNET
    kinds = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in settings["attention"]]
    published = {  # the other entries are those of configs/tango_diffusion_light.json
        "attention_head_dim": list(settings["heads"]),
        "block_out_channels": list(settings["channels"]),
        "cross_attention_dim": settings["text"],
        "down_block_types": kinds,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(kinds)],
        "in_channels": settings["latent"],
        "out_channels": settings["latent"],
        "layers_per_block": settings["layers"],
        "sample_size": list(draws.LATENT[1:]),
    }
    light = json.loads((Path(sys.path[0]) / "configs/tango_diffusion_light.json").read_text())
    unet = output / "tango_diffusion_light.json"
    unet.write_text(json.dumps(light | published))
    scheduler = {  # of stabilityai/stable-diffusion-2-1
        "_class_name": "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    (output / "sd" / "scheduler").mkdir(parents=True, exist_ok=True)
    (output / "sd" / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    words = draws.T5
    config = transformers.T5Config(
        vocab_size=words["words"],
        d_model=words["width"],
        d_kv=words["head_width"],
        d_ff=words["hidden"],
        num_layers=words["layers"],
        num_heads=words["heads"],
        feed_forward_proj="gated-gelu",
    )
    transformers.T5EncoderModel(config).save_pretrained(output / "t5")
    transformers.ByT5Tokenizer().save_pretrained(output / "t5")
    return {
        "unet_model_config_path": str(unet),
        "scheduler_name": str(output / "sd"),
        "text_encoder_name": str(output / "t5"),
    }


def autoencoder() -> Any:
    """The official autoencoder with its HiFi-GAN, narrower."""
    utilities = importlib.import_module("audioldm.hifigan.utilities")
    utilities.HIFIGAN_16K_64 |= {"upsample_initial_channel": draws.VOCODER_CHANNELS}  # hard-coded there
    config = importlib.import_module("audioldm.utils").default_audioldm_config()
    settings = config["model"]["params"]["first_stage_config"]["params"]
    widths = draws.AUTOENCODER["channels"]
    settings["ddconfig"] |= {
        "ch": widths[0],
        "ch_mult": [width // widths[0] for width in widths],
        "num_res_blocks": draws.AUTOENCODER["blocks"],
    }
    kind = importlib.import_module("audioldm.variational_autoencoder").AutoencoderKL
    vae = kind(**settings, scale_factor=draws.SCALE_FACTOR)
    fill(vae, "vae.")
    return vae.eval().requires_grad_(False)


def mel(waveform: Tensor) -> Tensor:
    """The mel of the official front end (B, frames, bins)."""
    audio = importlib.import_module("audioldm.utils").default_audioldm_config()["preprocessing"]
    front_end = importlib.import_module("audioldm.audio.stft").TacotronSTFT(
        audio["stft"]["filter_length"],
        audio["stft"]["hop_length"],
        audio["stft"]["win_length"],
        audio["mel"]["n_mel_channels"],
        audio["audio"]["sampling_rate"],
        audio["mel"]["mel_fmin"],
        audio["mel"]["mel_fmax"],
    )
    return importlib.import_module("tools.torch_tools").wav_to_fbank(waveform, draws.MEL[0], front_end)[0]


def made(kind: Any, settings: dict[str, Any]) -> Any:
    """An official model with filled weights, in training mode."""
    model = kind(**settings)
    for name in ("teacher_unet", "student_unet", "student_target_unet", "student_ema_unet", "text_encoder"):
        if hasattr(model, name):
            fill(getattr(model, name), f"{name}.")
    return model.train()


def inputs_of(network: nn.Module) -> list[Tensor]:
    """The latents that a network is asked about from now on."""
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach().clone()))
    return seen


def gradients(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The norm of all gradients, and some of them."""
    grads = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    norm = torch.stack([grad.double().norm() for grad in grads.values()]).norm().float()
    chosen = ("conv_in.bias", "guidance_embedding.linear_2.bias", "mid_block.resnets.0.conv1.bias", "conv_out.bias")
    return {f"{prefix}.gradient_norm": norm[None]} | {
        f"{prefix}.gradient": torch.cat([grads[name] for name in chosen]).clone()
    }


def stage_1(settings: dict[str, Any]) -> dict[str, Tensor]:
    """Guidance distillation: loss and gradients, with and without the top timestep."""
    rows = len(draws.CAPTIONS)
    found: dict[str, Tensor] = {}
    for name, timesteps in (("stage1", draws.STAGE_1_TIMESTEPS), ("stage1_top", (999,) * rows)):
        model = made(importlib.import_module("models").AudioGDM, settings | {"teacher_guidance_scale": -1})
        # The position of timestep k among 999, 998, ... 0.
        positions = torch.tensor([999 - k for k in timesteps])
        uniform = torch.tensor(draws.GUIDANCE_SCALES) / 6
        noise = draws.normal("epsilon", rows, *draws.LATENT)
        with drawn(randint=[positions], randn_like=[noise], rand=[uniform]):
            loss = model(draws.normal("z_0", rows, *draws.LATENT), draws.CAPTIONS)
        loss.backward()
        found |= {f"{name}.loss": loss.detach()[None]} | gradients(model.student_unet, name)
    return found


def stage_2(settings: dict[str, Any], name: str, **options: Any) -> tuple[dict[str, Tensor], Tensor, Any]:
    """Consistency distillation: loss and gradients; the teacher's guided step; and the model."""
    rows = len(draws.CAPTIONS)
    model = made(importlib.import_module("models").AudioLCM, settings | {"teacher_guidance_scale": -1} | options)
    assert not hasattr(model.losses["stft"], "sr")  # which it reads: an AttributeError, without the next line
    model.losses["stft"].sr = 16000  # as in its CLAP loss
    positions = torch.tensor(draws.GRID_INDICES)  # the official code doubles them for Heun, whose timesteps come twice
    uniform = torch.tensor(draws.GUIDANCE_SCALES) / 6
    stepped = inputs_of(model.student_target_unet)
    z_0 = draws.normal("z_0", rows, *draws.LATENT)
    with drawn(randint=[positions], randn_like=[draws.normal("epsilon", rows, *draws.LATENT)], rand=[uniform]):
        loss = model(z_0, draws.waveform()[[0, 1, 0, 1]], draws.CAPTIONS)
    loss.backward()
    name = f"stage2_{name}"
    return {f"{name}.loss": loss.detach()[None]} | gradients(model.student_unet, name), stepped[0], model


@torch.no_grad()
def averages(model: Any) -> dict[str, Tensor]:
    """Both averages after five updates: the norm of all weights, and some of them."""
    for update in range(5):
        shapes = {name: tuple(tensor.shape) for name, tensor in model.student_unet.named_parameters()}
        shapes.pop("guidance_proj.weight")  # it is frozen
        model.student_unet.load_state_dict(draws.weights(shapes, f"update {update}: student_unet."), strict=False)
        model.update_ema()
    found = {}
    for name in ("student_target_unet", "student_ema_unet"):
        state = getattr(model, name).state_dict()
        everything = torch.cat([tensor.flatten().double() for tensor in state.values()])
        found[f"ema.{name}"] = torch.cat([state["conv_in.bias"], state["conv_out.weight"].flatten()])
        found[f"ema.{name}.norm"] = everything.norm().float()[None]
    return found


@torch.no_grad()
def networks(model: Any) -> dict[str, Tensor]:
    """Text encoder, student and teacher, each asked once."""
    embedding, mask, conditional, conditional_mask = model.encode_text_classifier_free(draws.CAPTIONS, 1)
    z_t, t = draws.normal("z_t", len(draws.CAPTIONS), *draws.LATENT), torch.tensor(draws.TIMESTEPS, dtype=torch.float64)
    words: dict[str, Any] = {"encoder_hidden_states": conditional, "encoder_attention_mask": conditional_mask}
    student = model.student_ema_unet(z_t, t, guidance=torch.tensor(draws.GUIDANCE_SCALES), **words).sample
    return {
        "text.captions": conditional * conditional_mask[..., None],
        "text.empty": embedding[0, mask[0]],
        "student.output": student,
        "teacher.guided": model._query_teacher(z_t, t, embedding, mask, torch.tensor(draws.GUIDANCE_SCALES)),
        "text.mask": conditional_mask.float(),
    }


def generation(model: Any) -> dict[str, Tensor]:
    """The student in one query and in four, also guided from outside, and the teacher over 18 points."""
    here = importlib.import_module("models.audio_consistency_model")
    captions = draws.CAPTIONS[:1]
    shape = (1, *draws.LATENT)
    found = {}
    for name, steps, options in (
        ("one_query", 1, {}),
        ("four_queries", 4, {}),
        ("external_guidance", 1, {"guidance_scale_post": 2.0}),
        ("teacher_trajectory", 1, {"query_teacher": True}),
    ):
        scheduler = type(model.noise_scheduler).from_pretrained(model.scheduler_name, subfolder="scheduler")
        if model.use_karras:
            scheduler.use_karras_sigmas = True  # as the official inference.py does
        fresh = [draws.normal(f"fresh {index}", *shape) for index in range(steps - 1)]
        # The official shape, (B, C, 256, 16), is hard-coded.
        noise = mock.patch.object(here, "randn_tensor", return_value=draws.normal("noise z_T", *shape))
        with noise, drawn(randn_like=fresh):
            results = model.eval().inference(
                captions, scheduler, guidance_scale_input=3.0, num_steps=steps, return_all=True, **options
            )
        found[f"generation.{name}"] = results[1 if "query_teacher" in options else 0]
    return found


def variants(settings: dict[str, Any]) -> dict[str, Tensor]:
    """What differs where the official training is not asked for Heun's steps (DDIM), or is for Karras's times."""
    found: dict[str, Tensor] = {}
    for name, options in (("ddim", {"use_edm": False}), ("karras", {"use_edm": True, "use_karras": True})):
        trained, stepped, model = stage_2(settings, name, **options)
        scheduler = model.noise_scheduler
        found |= trained | {f"{name}.timesteps": scheduler.timesteps[:: scheduler.order]}
        found[f"{name}.step"] = draws.thinned(stepped)
        generated = generation(model)
        for quantity in ("four_queries", "teacher_trajectory"):
            found[f"{name}.{quantity}"] = draws.thinned(generated[f"generation.{quantity}"])
    found["karras.sigmas"] = scheduler.sigmas[:-1:2]
    both = stage_2(settings, "both", use_edm=False, use_karras=True)[2].noise_scheduler
    assert type(both).__name__ == "DDIMScheduler"
    assert torch.equal(both.timesteps, found["ddim.timesteps"])
    print("use_karras without use_edm is neither refused nor heeded")
    return found


@torch.no_grad()
def sound(vae: Any) -> dict[str, Tensor]:
    """Front end, autoencoder and vocoder."""
    spectrogram = mel(draws.waveform())
    with drawn(randn=[draws.normal("posterior", 2, *draws.LATENT)]):
        latent = vae.get_first_stage_encoding(vae.encode_first_stage(spectrogram[:, None]))
    decoded = vae.decode_first_stage(draws.normal("z_0", 1, *draws.LATENT))
    raw = vae.vocoder(decoded[:, 0].transpose(1, 2))[:, 0]
    integers = vae.decode_to_waveform(decoded)  # NumPy, int16
    return {
        "mel": spectrogram,
        "encode.draw": latent,
        "decode.mel": decoded[:, 0],
        "vocoder.waveform": raw,
        "vocoder.published_offset": torch.tensor([(raw.max() + raw.min()) / 2]),
        "vocoder.published_peak": torch.tensor([float(np.abs(integers).max())]),
    }


def losses(model: Any) -> dict[str, Tensor]:
    """The official losses before the noise weighting, per example."""
    student, target = (draws.normal(name, 2, *draws.LATENT) for name in ("loss student", "loss target"))
    rest = (draws.waveform(), draws.CAPTIONS[:2])
    return {f"loss.{name}": loss(student, target, *rest).detach() for name, loss in model.losses.items()}


def main() -> None:
    """Record."""
    official, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(official))
    stand_ins(official)
    accelerate.PartialState()  # the official loggers ask for it
    torch.manual_seed(0)
    settings: dict[str, Any] = files(output) | {"snr_gamma": 5.0}
    vae = autoencoder()
    recorded = stage_1(settings)
    settings["vae"] = vae
    for loss_type in ("mse", "mel", "stft", "clap"):
        found, stepped, model = stage_2(settings, loss_type, use_edm=True, loss_type=loss_type)
        recorded |= found | {"teacher_step.z_s": stepped}  # the same with all losses
    recorded |= networks(model) | generation(model) | sound(vae) | losses(model)
    state = model.state_dict()
    torch.save(state, output / "pytorch_model_2.bin")
    names = ("teacher_unet.", "student_unet.", "student_target_unet.", "student_ema_unet.", "text_encoder.", "vae.")
    digests = {
        name: digest({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)}) for name in names
    }
    recorded |= averages(model.train()) | variants(settings)
    commit = subprocess.run(["git", "-C", official, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    versions = {
        name: importlib.import_module(name).__version__ for name in ("torch", "transformers", "numpy", "librosa")
    }
    versions |= {"python": platform.python_version(), "official": commit.stdout.strip()}
    tensors = {name: tensor.detach().float().contiguous().clone() for name, tensor in recorded.items()}
    metadata = {"digests": json.dumps(digests), "versions": json.dumps(versions)}
    save_file(tensors, output / "recorded.safetensors", metadata)
    size = sum(tensor.numel() for tensor in tensors.values()) * 4
    print(f"{len(tensors)} recordings, {size / 1000:.0f} kB, {versions}")


if __name__ == "__main__":
    main()

"""Prints how far this project is from the recordings of the official code, as the tables of docs/parity.md.

    python -m tests.parity.compare [RECORDED [CHECKPOINT]]

RECORDED is the folder that ``record.py`` wrote, or that of the recording in this repository; CHECKPOINT is the official
``pytorch_model_2.bin`` beside it, made anew from the same draws if not given.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import __version__ as diffusers_version
from safetensors import safe_open
from torch import Tensor
from transformers import __version__ as transformers_version

from consistency_tta.diffusion.solve import DDIM
from tests.parity import draws
from tests.parity.ours import Ours
from tests.parity.peculiarities import in_float64, official_losses

RECORDED = Path(__file__).parent / "recorded.safetensors"


def read(path: Path = RECORDED) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The recordings by name, and what is said about them."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
        return tensors, {name: json.loads(value) for name, value in file.metadata().items()}


def difference(ours: Tensor, official: Tensor) -> float:
    """The largest difference of two numbers, as a share of the largest official one."""
    assert ours.shape == official.shape, (ours.shape, official.shape)
    return float((ours.double() - official.double()).abs().max() / official.double().abs().max())


def parity(ours: Ours, recorded: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Differences by group and by quantity, where the two should agree to rounding.

    Peculiarities of the official code that this project corrects are reproduced, which proves the explanation.
    """

    def compared(found: dict[str, Tensor], prefix: str = "") -> dict[str, float]:
        return {prefix + name: difference(tensor, recorded[prefix + name]) for name, tensor in found.items()}

    guided, to_clean = ours.guided()
    groups = {
        "networks": compared(ours.networks())
        | {"teacher.guided": difference(guided, to_clean(recorded["teacher.guided"]))},
        "teacher step": compared({"z_s": ours.teacher_step()}, "teacher_step."),
        "stage 1": compared(ours.stage_1(draws.STAGE_1_TIMESTEPS), "stage1."),
        "stage 1, top": compared(ours.stage_1((999,) * 4, unit_noise=True), "stage1_top."),
    }
    for name, (losses, loss_weights) in official_losses().items():
        found = ours.stage_2(losses, loss_weights, official_sound=True)
        groups[f"stage 2, {name}"] = compared(found, f"stage2_{name}.")
    groups["losses"] = compared(ours.losses())
    groups["averages"] = compared(ours.averages())
    groups["generation"] = compared(ours.generation())
    groups["DDIM"] = compared(ours.ddim())
    groups["Karras"] = compared(ours.karras())
    sound = ours.sound(recorded["mel"], recorded["decode.mel"])
    # The official waveform is longer by what transposed convolutions leave over, which the codec here cuts off.
    waveform = difference(sound.pop("vocoder.waveform"), recorded["vocoder.waveform"][:, : draws.SAMPLES])
    # Magnitudes: the logarithm makes much of the rounding of those that are nearly nothing (docs/parity.md).
    magnitude = difference(sound.pop("mel").exp(), recorded["mel"].exp())
    groups["sound"] = {"mel.magnitude": magnitude, "vocoder.waveform": waveform} | compared(sound)
    return groups


def by_design(ours: Ours, recorded: dict[str, Tensor]) -> dict[str, float]:
    """Differences where this project does something else on purpose."""
    top = ours.stage_1((999,) * 4)
    losses: Callable[..., dict[str, Tensor]] = ours.losses
    weighted, weights = official_losses()["clap"]
    exempt = {"latent": weighted["latent"], "clap": weighted["clap"].loss}  # type: ignore[dict-item]
    raw, offset = recorded["vocoder.waveform"], recorded["vocoder.published_offset"]
    warm = ours.averages(warm_up=True)
    ddim = draws.thinned(ours.trajectory(DDIM(), None))
    karras = ours.karras(official_times=False)
    timesteps = karras["karras.timesteps"] - recorded["karras.timesteps"]
    return {
        "stage 1 at the top timestep, loss": difference(top["loss"], recorded["stage1_top.loss"]),
        "CLAP loss per example (waveforms neither moved nor longer)": difference(
            losses(official_sound=False)["loss.clap"], recorded["loss.clap"]
        ),
        "stage 3 loss, CLAP exempt from the noise weighting": difference(
            ours.stage_2(exempt, weights, official_sound=True)["loss"], recorded["stage2_clap.loss"]
        ),
        "four queries at our times": difference(ours.several_queries(None), recorded["generation.four_queries"]),
        "waveform, moved by the batch's (max + min) / 2": float(offset.abs() / raw.abs().max()),
        "log-mel, in nepers, wherever": float(
            (ours.student.codec.waveform_to_mel(draws.waveform()) - recorded["mel"]).abs().max()
        ),
        "evaluation average after five updates, warmed up": difference(
            warm["ema.student_ema_unet"], recorded["ema.student_ema_unet"]
        ),
        "DDIM in 18 steps at our times": difference(ddim, recorded["ddim.teacher_trajectory"]),
        "Karras's times, in timesteps": float(timesteps.abs().max()),
    } | {f"at our times, {name}": difference(tensor, recorded[name]) for name, tensor in karras.items()}


def stage_2_in_float64(ours: Ours, recorded: dict[str, Tensor], loss: str) -> dict[str, Tensor]:
    """Stage 2 by an official loss, from the recorded text embedding: alike with AVX2 and AVX-512, to 1e-13."""
    text = replace(ours.text, embedding=recorded["text.captions"])
    with in_float64(), mock.patch.object(ours, "text", text):
        return ours.stage_2(*official_losses()[loss], official_sound=True)


def rounding(ours: Ours, recorded: dict[str, Tensor]) -> dict[str, list[float]]:
    """How far ours, ours without oneDNN and the official code are from ours in float64."""
    found = {}
    for loss, quantity in (("clap", "gradient_norm"), ("stft", "gradient"), ("stft", "gradient_norm")):
        name = f"stage2_{loss}.{quantity}"
        exact = stage_2_in_float64(ours, recorded, loss)[quantity]
        usual = ours.stage_2(*official_losses()[loss], official_sound=True)[quantity]
        with torch.backends.mkldnn.flags(enabled=False):
            plain = ours.stage_2(*official_losses()[loss], official_sound=True)[quantity]
        found[name] = [difference(side, exact) for side in (usual, plain, recorded[name])]
    return found


def main() -> None:
    """Print the tables."""
    recorded, about = read(Path(sys.argv[1]) / RECORDED.name if len(sys.argv) > 1 else RECORDED)
    checkpoint = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(Path(folder), checkpoint)
        groups, design, distances = parity(ours, recorded), by_design(ours, recorded), rounding(ours, recorded)
    print(f"official: {about['versions']}")
    print(f"ours: torch {torch.__version__}, diffusers {diffusers_version}, transformers {transformers_version}\n")
    for group, found in groups.items():
        for name, value in found.items():
            print(f"| {group} | {name} | {value:.1e} |")
    print()
    for name, value in design.items():
        print(f"| {name} | {value:.2g} |")
    print()
    for name, values in distances.items():
        print(f"| {name} | {' | '.join(f'{value:.1e}' for value in values)} |")


if __name__ == "__main__":
    main()

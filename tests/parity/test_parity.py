"""Against recordings of the official code (docs/parity.md says how they are made)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.diffusion.sample import consistency_times
from tests.convert.published import digest
from tests.parity import draws
from tests.parity.compare import difference, read, stage_2_in_float64
from tests.parity.ours import Ours, official_shapes
from tests.parity.peculiarities import official_losses

#: In float32, as a share of the largest number of a quantity.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def recording() -> tuple[dict[str, Tensor], dict[str, Any]]:
    return read()


@pytest.fixture(scope="module")
def recorded(recording: tuple[dict[str, Tensor], dict[str, Any]]) -> dict[str, Tensor]:
    return recording[0]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ours:
    return Ours(tmp_path_factory.mktemp("parity"))


def check(found: dict[str, Tensor], recorded: dict[str, Tensor], prefix: str = "") -> None:
    assert found
    far = {name: difference(tensor, recorded[prefix + name]) for name, tensor in found.items()}
    assert max(far.values()) <= TOLERANCE, far


def test_the_weights_have_the_official_names(recording: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    """So that those made anew here are those of the recording."""
    assert {prefix: digest(shapes) for prefix, shapes in official_shapes().items()} == recording[1]["digests"]


def test_text_encoder_and_student(ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.networks(), recorded)


def test_guided_teacher_and_its_heun_step(ours: Ours, recorded: dict[str, Tensor]) -> None:
    z_0, to_clean = ours.guided()
    check({"z_0": z_0}, {"z_0": to_clean(recorded["teacher.guided"])})
    check({"teacher_step.z_s": ours.teacher_step()}, recorded)


def test_stage_1(ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.stage_1(draws.STAGE_1_TIMESTEPS), recorded, "stage1.")


def test_stage_1_at_the_top_starts_where_generation_does(ours: Ours, recorded: dict[str, Tensor]) -> None:
    """The official stage 1 starts from noise of variance 1 there, but its stage 2 and its generation do not."""
    check(ours.stage_1((999,) * 4, unit_noise=True), recorded, "stage1_top.")
    ratio = ours.stage_1((999,) * 4)["loss"] / recorded["stage1_top.loss"]
    assert 1e-4 < abs(float(ratio) - 1) < 1e-2


@pytest.mark.parametrize("name", ["mse", "mel"])
def test_stage_2(name: str, ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.stage_2(*official_losses()[name], official_sound=True), recorded, f"stage2_{name}.")


@pytest.mark.parametrize("name", ["stft", "clap"])
def test_stage_2_and_fine_tuning_by_waveforms(name: str, ours: Ours, recorded: dict[str, Tensor]) -> None:
    """How far these gradients are off in float32 is up to the processor's rounding (docs/parity.md)."""
    loss = ours.stage_2(*official_losses()[name], official_sound=True)["loss"]
    exact = stage_2_in_float64(ours, recorded, name)
    assert exact["gradient"].dtype == torch.float64
    check(exact | {"loss": loss}, recorded, f"stage2_{name}.")


def test_losses_per_example(ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.losses(), recorded)


def test_averages_after_five_updates(ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.averages(), recorded)


def test_generation(ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.generation(), recorded)


def test_several_queries_end_above_the_lowest_noise(ours: Ours) -> None:
    """The official last query, at timestep 0, is one that its student was never trained on."""
    assert consistency_times(ours.schedule, 4).tolist() == [1000, 750, 500, 250]


def test_ddim(ours: Ours, recorded: dict[str, Tensor]) -> None:
    check(ours.ddim(), recorded)


def test_karras(ours: Ours, recorded: dict[str, Tensor]) -> None:
    found = ours.karras()
    check(found, recorded)
    torch.testing.assert_close(found["karras.sigmas"].float(), recorded["karras.sigmas"], rtol=TOLERANCE, atol=0)


def test_karras_times_are_where_the_schedule_has_these_noise_levels(ours: Ours, recorded: dict[str, Tensor]) -> None:
    """The official code interpolates their logarithms, though not where it looks noise levels up."""
    found = ours.karras(official_times=False)
    torch.testing.assert_close(found["karras.sigmas"].float(), recorded["karras.sigmas"], rtol=TOLERANCE, atol=0)
    assert 1e-3 < (found["karras.timesteps"] - recorded["karras.timesteps"]).abs().max() < 1e-2
    check({"karras.step": found["karras.step"]}, recorded)


def test_autoencoder_and_vocoder(ours: Ours, recorded: dict[str, Tensor]) -> None:
    found = ours.sound(recorded["mel"], recorded["decode.mel"])
    waveform, official = found.pop("vocoder.waveform"), recorded["vocoder.waveform"]
    assert official.shape[1] == draws.SAMPLES + 32  # what the transposed convolutions leave over
    check({"waveform": waveform}, {"waveform": official[:, : draws.SAMPLES]})
    check({name: found[name] for name in ("encode.draw", "decode.mel")}, recorded)


def test_mel(ours: Ours, recorded: dict[str, Tensor]) -> None:
    mel, official = ours.sound(recorded["mel"], recorded["decode.mel"])["mel"], recorded["mel"]
    check({"magnitude": mel.exp()}, {"magnitude": official.exp()})
    # Further down, 100 dB below the loudest, both round differently: one sums products with sines, one is an FFT.
    loud = official > -6
    check({"log": mel[loud]}, {"log": official[loud]})
    assert torch.allclose(mel, official, atol=0.01)

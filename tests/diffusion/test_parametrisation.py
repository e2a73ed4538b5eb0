import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.parametrisation import PARAMETRISATIONS, parametrisation
from consistency_tta.diffusion.schedules import CosineSchedule, RectifiedFlowSchedule
from consistency_tta.runtime.errors import ConfigurationError
from tests.diffusion.outputs import DIFFUSION_TYPES, output_for


@pytest.mark.parametrize("prediction_type", DIFFUSION_TYPES)
def test_to_clean_inverts_the_definition_and_agrees_with_diffusers(config, schedule, noise, prediction_type):
    z_0, epsilon = noise, noise.flip(0)
    t = torch.tensor([1, 500, 1000])
    z_t = schedule.add_noise(z_0, epsilon, t)
    alpha, sigma = expand(schedule.alpha(t), z_t), expand(schedule.sigma(t), z_t)
    form = parametrisation(prediction_type)
    output = output_for(prediction_type, z_0, z_t, alpha, sigma)
    torch.testing.assert_close(form.to_clean(output, z_t, alpha, sigma), z_0, rtol=1e-5, atol=1e-5)

    velocity = DDPMScheduler.from_config(config).get_velocity(z_0, epsilon, t - 1)
    expected = {"epsilon": epsilon, "v_prediction": velocity, "sample": z_0}[prediction_type]
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)

    ddim = DDIMScheduler.from_config(config, prediction_type=prediction_type, clip_sample=False)
    ddim.set_timesteps(1000)
    for b in range(3):
        reference = ddim.step(output[b], int(t[b]) - 1, z_t[b]).pred_original_sample
        torch.testing.assert_close(form.to_clean(output, z_t, alpha, sigma)[b], reference, rtol=1e-4, atol=1e-4)


def test_guidance_means_the_same_in_every_parametrisation(schedule, noise):
    t = torch.tensor([20.0, 500.0, 1000.0])
    alpha, sigma = expand(schedule.alpha(t), noise), expand(schedule.sigma(t), noise)
    clean = noise + 3 * noise.flip(1) - 0.2
    guided = clean + 4 * (noise.flip(2) - clean)
    for prediction_type, form in PARAMETRISATIONS.items():
        a, b = (output_for(prediction_type, z_0, noise, alpha, sigma) for z_0 in (clean, noise.flip(2)))
        torch.testing.assert_close(form.to_clean(a + 4 * (b - a), noise, alpha, sigma), guided, rtol=1e-5, atol=1e-5)


def test_refuses_an_unknown_prediction_type():
    with pytest.raises(ConfigurationError, match="nonsense"):
        parametrisation("nonsense")


@pytest.mark.parametrize("prediction_type", PARAMETRISATIONS)
def test_from_clean_inverts_to_clean_on_every_schedule(any_schedule, noise, prediction_type):
    t = torch.tensor([2.5, 500.0, 1000.0], dtype=torch.float64)
    try:
        form = parametrisation(prediction_type, any_schedule)
    except ConfigurationError:
        # z_0 / 0, and v where variance is not preserved.
        refused = {"epsilon": any_schedule.zero_terminal_snr, "v_prediction": not any_schedule.variance_preserving}
        assert refused[prediction_type]
        return
    alpha, sigma = expand(any_schedule.alpha(t), noise), expand(any_schedule.sigma(t), noise)
    z_t = alpha * noise + sigma * noise.flip(0)
    output = form.from_clean(noise, z_t, alpha, sigma)
    assert output.isfinite().all()
    expected = output_for(prediction_type, noise, z_t, alpha, sigma)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(form.to_clean(output, z_t, alpha, sigma), noise, rtol=1e-5, atol=1e-5)


def test_what_is_undefined_on_a_schedule_is_refused():
    flow = RectifiedFlowSchedule()
    for prediction_type in ("epsilon", "v_prediction"):
        with pytest.raises(ConfigurationError, match=prediction_type):
            parametrisation(prediction_type, flow)
    with pytest.raises(ConfigurationError, match="epsilon"):
        parametrisation("epsilon", CosineSchedule())

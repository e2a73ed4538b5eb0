import copy

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, HeunDiscreteScheduler

from consistency_tta.diffusion.noise import add_noise, expand, to_epsilon, velocity
from consistency_tta.diffusion.schedules import VariancePreservingSchedule, schedule_from_config
from consistency_tta.runtime.errors import ConfigurationError


def test_sd21_reaches_the_known_noise_level(schedule):
    assert schedule.num_train_timesteps == 1000
    assert schedule.ratio(torch.tensor(1000.0)).item() == pytest.approx(14.6146, abs=1e-3)


def test_time_zero_is_clean(schedule):
    zero = torch.zeros(2)
    assert schedule.ratio(zero).tolist() == schedule.sigma(zero).tolist() == [0, 0]
    assert schedule.alpha(zero).tolist() == [1, 1]
    assert schedule.snr(zero).isinf().all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 200},
        {"trained_betas": [0.01, 0.02, 0.03, 0.2], "num_train_timesteps": 4},
    ],
)
def test_agrees_with_diffusers_at_its_timesteps_and_between(config, changes):
    config |= changes
    schedule = schedule_from_config(config)
    reference = DDIMScheduler.from_config(config)
    k = np.linspace(0, schedule.num_train_timesteps - 1, 37)
    reference_ratios = ((1 - reference.alphas_cumprod) / reference.alphas_cumprod).sqrt().double().numpy()
    expected = np.interp(k, np.arange(len(reference_ratios)), reference_ratios)
    t = torch.from_numpy(k + 1)
    np.testing.assert_allclose(schedule.ratio(t), expected, rtol=1e-5)
    np.testing.assert_allclose(schedule.snr(t), expected**-2, rtol=1e-5)
    np.testing.assert_allclose(schedule.sigma(t) / schedule.alpha(t), expected, rtol=1e-5)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-12)


def test_reads_the_config_of_another_scheduler_class(config, schedule):
    other = HeunDiscreteScheduler.from_config(config).config
    assert torch.equal(schedule_from_config(other).table, schedule.table)


def test_time_inverts_ratio(schedule):
    t = torch.cat([torch.linspace(0, 1000, 4001), torch.tensor([1e-3, 0.5, 999.999])])
    torch.testing.assert_close(schedule.time(schedule.ratio(t)), t, rtol=1e-5, atol=1e-3)
    t = t.double().reshape(2, -1)
    torch.testing.assert_close(schedule.double().time(schedule.ratio(t)), t, rtol=1e-12, atol=1e-9)


def test_clamps_outside_of_its_range(schedule):
    assert torch.equal(schedule.ratio(torch.tensor([-1.0, 1001.0])), schedule.table[[0, -1]])
    assert schedule.time(torch.tensor([-1.0, 20.0])).tolist() == [0, 1000]


@pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.to("cpu").bfloat16()])
def test_casts_never_lower_its_precision(schedule, cast):
    table = schedule.table.clone()
    holder = cast(torch.nn.ModuleDict({"schedule": schedule, "network": torch.nn.Linear(1, 1)}))
    assert holder["network"].weight.dtype != torch.float32
    assert torch.equal(holder["schedule"].table, table)
    assert holder["schedule"].table.dtype == torch.float32
    assert schedule.alpha(torch.tensor([3.0], dtype=torch.bfloat16)).dtype == torch.float32


def test_moves_without_entering_the_state_dict(schedule):
    assert schedule.state_dict() == {}
    assert copy.deepcopy(schedule).bfloat16().to("meta").table.is_meta


def test_add_noise_is_the_forward_process_per_example(schedule):
    generator = torch.Generator().manual_seed(0)
    z_0, epsilon = torch.randn(2, 3, 2, 4, 5, generator=generator).unbind()
    t = torch.tensor([0.0, 12.25, 1000.0])
    z_t = schedule.add_noise(z_0, epsilon, t)
    for b in range(3):
        torch.testing.assert_close(z_t[b], schedule.alpha(t[b]) * z_0[b] + schedule.sigma(t[b]) * epsilon[b])
    assert torch.equal(z_t[0], z_0[0])
    assert add_noise(schedule, z_0.bfloat16(), epsilon.bfloat16(), t).dtype == torch.bfloat16


def test_prior_is_noise_at_the_top_step(schedule):
    epsilon = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(schedule.prior(epsilon), epsilon * schedule.sigma(torch.tensor(1000.0)))


def test_expand_broadcasts_over_the_trailing_dimensions():
    assert expand(torch.ones(3), torch.ones(3, 1, 2, 2)).shape == (3, 1, 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"beta_schedule": "nonsense"},
        {"beta_schedule": None},
        {"trained_betas": [0.1, 0.0, 0.1]},
        {"num_train_timesteps": 0},
    ],
)
def test_refuses_configs_that_describe_no_schedule(config, changes):
    with pytest.raises(ConfigurationError):
        schedule_from_config(config | changes)


def test_refuses_a_table_of_the_wrong_shape():
    with pytest.raises(ConfigurationError):
        VariancePreservingSchedule([[0.9, 0.8]])


def test_the_noise_of_a_noisy_latent_is_what_was_added(any_schedule, noise):
    z_0, t = noise.flip(1), torch.tensor([5.0, 400.0, 990.0], dtype=torch.float64)
    torch.testing.assert_close(to_epsilon(any_schedule, z_0, any_schedule.add_noise(z_0, noise, t), t), noise)


def test_the_velocity_is_the_slope_of_the_path_from_noise_to_clean_latent(any_schedule, noise):
    z_0, t = noise.flip(1), torch.tensor([5.5, 400.5, 990.5], dtype=torch.float64)
    later, earlier = (any_schedule.add_noise(z_0, noise, t + step) for step in (1e-3, -1e-3))
    slope = velocity(any_schedule, z_0, any_schedule.add_noise(z_0, noise, t), t)
    torch.testing.assert_close(slope, (later - earlier) / 2e-3, rtol=1e-5, atol=1e-7)

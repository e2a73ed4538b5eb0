import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler

from consistency_tta.diffusion.grid import ExponentialGrid, KarrasGrid, LinspaceGrid, UniformGrid
from consistency_tta.diffusion.schedules import schedule_from_config
from consistency_tta.runtime.errors import ConfigurationError

GRIDS = [UniformGrid(), LinspaceGrid(), KarrasGrid(), KarrasGrid(rho=1), ExponentialGrid()]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("num_steps", [1, 2, 18, 333, 1000])
def test_falls_strictly_from_the_top_to_zero(schedule, grid, num_steps):
    times = grid(schedule, num_steps)
    assert times.shape == (num_steps + 1,)
    assert times.dtype == torch.float64
    assert times[0] == 1000
    assert times[-1] == 0
    assert times[-2] >= 1 - 1e-9
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("num_steps", [1, 10, 50, 200, 1000])
def test_uniform_is_trailing_spacing(config, schedule, num_steps):
    reference = DDIMScheduler.from_config(config, timestep_spacing="trailing")
    reference.set_timesteps(num_steps)
    torch.testing.assert_close(UniformGrid()(schedule, num_steps)[:-1], reference.timesteps.double() + 1)


@pytest.mark.parametrize("num_steps", [2, 18, 50])
def test_linspace_is_the_spacing_of_heun_in_diffusers(config, schedule, num_steps):
    reference = HeunDiscreteScheduler.from_config(config, timestep_spacing="linspace")
    reference.set_timesteps(num_steps)
    times, ratios = LinspaceGrid()(schedule, num_steps), torch.cat([reference.sigmas[:1], reference.sigmas[1::2]])
    torch.testing.assert_close(times[:-1].float(), reference.timesteps[::2] + 1)
    torch.testing.assert_close(schedule.ratio(times).float(), ratios, rtol=1e-5, atol=0)


@pytest.mark.parametrize("num_steps", [2, 18])
def test_karras_has_the_noise_levels_of_diffusers(config, schedule, num_steps):
    reference = DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True, final_sigmas_type="zero")
    reference.set_timesteps(num_steps)
    ratios = schedule.ratio(KarrasGrid()(schedule, num_steps)).float()
    torch.testing.assert_close(ratios, reference.sigmas, rtol=1e-5, atol=0)


@pytest.mark.parametrize("grid", [LinspaceGrid(), ExponentialGrid(), *(KarrasGrid(rho) for rho in (1, 2.5, 3, 7, 20))])
def test_the_last_query_is_at_the_lowest_known_noise_level(schedule, grid):
    assert [grid(schedule, num_steps)[-2].item() for num_steps in (2, 18, 100)] == [1, 1, 1]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("num_steps", [0, -1, 1001, 2.5])
def test_refuses_impossible_numbers_of_steps(schedule, grid, num_steps):
    with pytest.raises(ConfigurationError):
        grid(schedule, num_steps)


def test_a_rho_of_one_makes_equal_steps_of_the_ratio_and_less_is_refused(schedule):
    ratios = schedule.ratio(KarrasGrid(rho=1)(schedule, 18))
    torch.testing.assert_close(ratios[:-1].diff(), (ratios[-2] - ratios[0]).expand(17) / 17)
    with pytest.raises(ConfigurationError, match=r"0\.9"):
        KarrasGrid(rho=0.9)


def test_a_grid_of_noise_levels_refuses_a_schedule_that_ends_in_pure_noise(config):
    ends_in_noise = schedule_from_config(config | {"rescale_betas_zero_snr": True})
    with pytest.raises(ConfigurationError, match="KarrasGrid"):
        KarrasGrid()(ends_in_noise, 4)
    assert UniformGrid()(ends_in_noise, 4).isfinite().all()

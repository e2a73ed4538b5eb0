"""What holds for the schedule of every family, and the configurations that they are read from."""

import copy

import pytest
import torch
from diffusers import (
    CosineDPMSolverMultistepScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from consistency_tta.diffusion.grid import ExponentialGrid, KarrasGrid, LinspaceGrid, UniformGrid
from consistency_tta.diffusion.noise import expand, to_epsilon, velocity
from consistency_tta.diffusion.schedules import (
    CosineSchedule,
    RectifiedFlowSchedule,
    VariancePreservingSchedule,
    ZeroTerminalSNRSchedule,
    prediction_type_from_config,
    schedule_from_config,
    stable_diffusion_scheduler,
)
from consistency_tta.runtime.errors import ConfigurationError
from tests.diffusion.conftest import SD21_CONFIG

#: Whole and broken times; tables have kinks at the whole ones.
TIMES = torch.tensor([0.5, 1.5, 3.25, 250.5, 700.75, 998.5, 999.5], dtype=torch.float64)


def test_the_ends_are_exact(any_schedule):
    for dtype in (torch.float32, torch.float64):
        ends = torch.tensor([0, 1000], dtype=dtype)
        alpha, sigma = any_schedule.alpha(ends), any_schedule.sigma(ends)
        assert alpha[0] == pytest.approx(1, abs=1e-12 if dtype == torch.float64 else 1e-6)
        assert sigma[0] == 0
        assert (alpha[1] == 0) == any_schedule.zero_terminal_snr
        if any_schedule.zero_terminal_snr:
            assert sigma[1] == pytest.approx(1, abs=1e-6)
            assert any_schedule.snr(ends)[1] == 0


def test_times_beyond_an_end_are_that_end(any_schedule):
    beyond, ends = torch.tensor([-1.0, 1001.0]), torch.tensor([0.0, 1000.0])
    for values in (any_schedule.alpha, any_schedule.sigma, any_schedule.ratio):
        assert torch.equal(values(beyond), values(ends))


def test_half_precision_times_give_float32(any_schedule):
    t = torch.tensor([3.0, 500.0, 992.0])  # which bfloat16 has
    for values in (any_schedule.alpha, any_schedule.sigma, any_schedule.ratio, any_schedule.sigma_derivative):
        torch.testing.assert_close(values(t.bfloat16()), values(t))


def test_half_precision_ratios_are_inverted_in_float32(schedule):
    ratios = torch.tensor([0.5, 2.0, 8.0])  # which bfloat16 has
    assert torch.equal(schedule.time(ratios.bfloat16()), schedule.time(ratios))


def test_noise_rises_and_variance_is_preserved_where_it_says_so(any_schedule):
    t = torch.arange(0, 1000, 0.5, dtype=torch.float64)
    assert (any_schedule.ratio(t).diff() > 0).all()
    total = any_schedule.alpha(t) ** 2 + any_schedule.sigma(t) ** 2
    assert torch.allclose(total, torch.ones_like(total)) == any_schedule.variance_preserving
    if not any_schedule.variance_preserving:
        torch.testing.assert_close(any_schedule.alpha(t) + any_schedule.sigma(t), torch.ones_like(t))


def test_derivatives_are_those_of_finite_differences(any_schedule):
    step = 1e-4
    for values, derivative in (
        (any_schedule.alpha, any_schedule.alpha_derivative),
        (any_schedule.sigma, any_schedule.sigma_derivative),
    ):
        difference = (values(TIMES + step) - values(TIMES - step)) / (2 * step)
        torch.testing.assert_close(derivative(TIMES), difference, rtol=1e-5, atol=1e-10)


def test_derivatives_at_the_top_are_finite(any_schedule):
    top = torch.tensor([1000.0])
    assert any_schedule.alpha_derivative(top).isfinite().all()
    assert any_schedule.sigma_derivative(top).isfinite().all()


def test_time_inverts_the_ratio(any_schedule):
    torch.testing.assert_close(any_schedule.time(any_schedule.ratio(TIMES)), TIMES, rtol=1e-9, atol=1e-9)
    if any_schedule.zero_terminal_snr:
        assert any_schedule.time(torch.tensor([0.0, float("inf")])).tolist() == [0, 1000]


def test_velocity_is_the_ode_of_a_gaussian(any_teacher, noise, conditioning):
    t, step = torch.tensor([3.5, 400.5, 900.5], dtype=torch.float64), 1e-4
    slope = velocity(any_teacher.schedule, any_teacher(noise, t, conditioning), noise, t)
    ahead, back = (any_teacher.exact(noise, t, t + sign * step, conditioning) for sign in (1, -1))
    torch.testing.assert_close(slope, (ahead - back) / (2 * step), rtol=1e-4, atol=1e-8)


def test_epsilon_is_the_noise_that_was_added(any_schedule, noise):
    t = torch.tensor([3.5, 400.5, 1000], dtype=torch.float64)
    z_t = any_schedule.add_noise(noise, noise.flip(0), t)
    torch.testing.assert_close(to_epsilon(any_schedule, noise, z_t, t), noise.flip(0), rtol=1e-6, atol=1e-6)


def test_velocity_of_a_rectified_flow_is_epsilon_minus_z_0(noise):
    schedule, t = RectifiedFlowSchedule(), torch.tensor([3.5, 400.5, 1000], dtype=torch.float64)
    z_t = schedule.add_noise(noise, noise.flip(0), t)
    torch.testing.assert_close(1000 * velocity(schedule, noise, z_t, t), noise.flip(0) - noise)


def test_casts_and_moves_leave_every_schedule_usable(any_schedule):
    t = torch.tensor([3.5, 1000.0])
    moved = copy.deepcopy(any_schedule).float().bfloat16()
    torch.testing.assert_close(moved.sigma(t), any_schedule.sigma(t).float())
    assert moved.alpha(torch.tensor([3])).dtype == torch.float32
    assert any_schedule.state_dict() == {}
    assert any_schedule.to("meta").sigma(t.to("meta")).is_meta


@pytest.mark.parametrize("grid", [UniformGrid(), LinspaceGrid(), KarrasGrid(), KarrasGrid(1), ExponentialGrid()])
@pytest.mark.parametrize("num_steps", [1, 2, 18, 1000])
def test_grids_fall_strictly_or_refuse(any_schedule, grid, num_steps):
    divides_ratio = isinstance(grid, KarrasGrid | ExponentialGrid)
    if divides_ratio and any_schedule.zero_terminal_snr:
        with pytest.raises(ConfigurationError, match=type(grid).__name__):
            grid(any_schedule, num_steps)
        return
    times = grid(any_schedule, num_steps)
    assert times.shape == (num_steps + 1,)
    assert times.dtype == torch.float64
    assert times[0] == 1000
    assert times[-1] == 0
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_reads_flow_matching(shift):
    reference = FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule = schedule_from_config(reference.config)
    t = torch.arange(1000, 0, -1.0)
    torch.testing.assert_close(schedule.sigma(t), reference.sigmas)
    torch.testing.assert_close(schedule.timestep(t), reference.timesteps)
    assert prediction_type_from_config(reference.config) == "flow_prediction"
    flow = DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction")
    assert torch.equal(schedule_from_config(flow.config).sigma(t), schedule.sigma(t))


@pytest.mark.parametrize(("sigma_schedule", "grid"), [("exponential", ExponentialGrid()), ("karras", KarrasGrid(7.0))])
def test_reads_the_schedule_of_stable_audio(sigma_schedule, grid):
    reference = CosineDPMSolverMultistepScheduler(sigma_schedule=sigma_schedule)
    schedule = schedule_from_config(reference.config)
    reference.set_timesteps(20)
    times = grid(schedule, 20)
    torch.testing.assert_close(schedule.ratio(times).float(), reference.sigmas, rtol=1e-5, atol=0)
    torch.testing.assert_close(schedule.timestep(times[:-1]).float(), reference.timesteps)
    z, output = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
    # Its preconditioning with sigma_data = 1 is v-prediction on z_t = alpha (z_0 + r epsilon).
    alpha, sigma = schedule.alpha(times[:-1]), schedule.sigma(times[:-1])
    expected = reference.precondition_outputs(z, output, reference.sigmas[:-1])
    z_t = reference.precondition_inputs(z, reference.sigmas[:-1])
    torch.testing.assert_close((alpha * z_t - sigma * output).float(), expected, rtol=1e-4, atol=1e-5)


def test_reads_zero_terminal_snr(config):
    reference = DDIMScheduler.from_config(config, rescale_betas_zero_snr=True)
    schedule, t = schedule_from_config(reference.config), torch.arange(1.0, 1001.0)
    assert isinstance(schedule, ZeroTerminalSNRSchedule)
    torch.testing.assert_close(schedule.alpha(t), reference.alphas_cumprod.sqrt(), rtol=0, atol=1e-6)
    torch.testing.assert_close(schedule.sigma(t), (1 - reference.alphas_cumprod).sqrt(), rtol=1e-5, atol=0)
    assert schedule.timestep(t).tolist() == list(range(1000))


def test_the_capped_cosine_table_follows_the_cosine(config):
    """diffusers' table is Nichol and Dhariwal's, but for a beta capped at the last steps."""
    table = schedule_from_config(config | {"beta_schedule": "squaredcos_cap_v2"})
    assert isinstance(table, VariancePreservingSchedule)
    t = torch.arange(1.0, 999.0)
    torch.testing.assert_close(table.alpha(t), CosineSchedule.nichol_dhariwal().alpha(t), rtol=2e-3, atol=1e-5)


def test_the_offset_of_the_cosine_is_nichol_and_dhariwals():
    """alpha^2 = f(t) / f(0), f(t) = cos^2((t / T + s) / (1 + s) pi / 2), their eq. 17."""
    t = torch.linspace(0, 1000, 9, dtype=torch.float64)
    f = ((t / 1000 + 0.25) / 1.25 * torch.pi / 2).cos().square()
    torch.testing.assert_close(CosineSchedule.nichol_dhariwal(offset=0.25).alpha(t).square(), f / f[0])


def test_the_noise_of_a_cosine_without_offset_rises_from_the_start():
    assert CosineSchedule(1000).sigma_derivative(torch.tensor([0.0])).item() == pytest.approx(torch.pi / 2000)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (dict(FlowMatchEulerDiscreteScheduler().config) | {"use_dynamic_shifting": True}, "use_dynamic_shifting"),
        (dict(FlowMatchEulerDiscreteScheduler().config) | {"invert_sigmas": True}, "invert_sigmas"),
        (dict(FlowMatchEulerDiscreteScheduler().config) | {"shift_terminal": 0.1}, "shift_terminal"),
        (dict(FlowMatchEulerDiscreteScheduler().config) | {"shift": 0}, "shift"),
        (dict(CosineDPMSolverMultistepScheduler().config) | {"sigma_data": 0.5}, "0.5"),
        (dict(CosineDPMSolverMultistepScheduler().config) | {"prediction_type": "epsilon"}, "epsilon"),
        (dict(EDMEulerScheduler().config) | {"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler"),
        ({"_class_name": "SCMScheduler", "sigma_max": 1.5}, "SCMScheduler"),
        ({}, None),
    ],
)
def test_refuses_what_it_cannot_read(config, word):
    with pytest.raises(ConfigurationError, match=word):
        schedule_from_config(config)


def test_a_config_without_prediction_type_is_refused():
    with pytest.raises(ConfigurationError):
        prediction_type_from_config({"beta_schedule": "linear"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: RectifiedFlowSchedule(0),
        lambda: RectifiedFlowSchedule(shift=-1.0),
        lambda: CosineSchedule(start_angle=1.0, end_angle=0.5),
        lambda: CosineSchedule(lowest_time=0),
        lambda: CosineSchedule.between_ratios(1000, 5, 1),
        lambda: CosineSchedule.between_ratios(1000, 0.3, float("inf")),
        lambda: ZeroTerminalSNRSchedule([0.9, 0.5]),
        lambda: ZeroTerminalSNRSchedule([0.5, 0.9, 0.0]),
        lambda: ZeroTerminalSNRSchedule([0.9, 0.9, 0.0]),
        lambda: VariancePreservingSchedule([0.5, 0.5 - 1e-12]),  # one noise level in float32
        lambda: VariancePreservingSchedule([0.5, 0.0]),
    ],
)
def test_refuses_impossible_schedules(make):
    with pytest.raises(ConfigurationError):
        make()


def test_the_least_noise_is_that_of_float64():
    least = VariancePreservingSchedule([1 - 1e-9, 0.5]).ratio(torch.tensor([1.0]))  # 1 - 1e-9 is 1 in float32
    assert least.item() == pytest.approx(1e-9**0.5)


def test_the_smallest_schedules_have_one_step():
    for schedule in (RectifiedFlowSchedule(1), CosineSchedule(1), VariancePreservingSchedule([0.5])):
        assert schedule.num_train_timesteps == 1
    with pytest.raises(ConfigurationError, match="num_train_timesteps"):
        CosineSchedule(0)


@pytest.mark.parametrize("scheduler", [FlowMatchEulerDiscreteScheduler, CosineDPMSolverMultistepScheduler])
def test_there_are_a_thousand_steps_where_the_configuration_does_not_say(scheduler):
    config = {key: value for key, value in scheduler().config.items() if "timesteps" not in key}
    assert schedule_from_config(config).num_train_timesteps == 1000


def test_betas_make_no_flow_even_with_a_shift(config):
    assert isinstance(schedule_from_config(config | {"shift": 3.0}), VariancePreservingSchedule)


def test_expand_is_for_any_number_of_dimensions(noise):
    assert expand(torch.ones(3), noise[..., 0]).shape == (3, 1, 1)


def test_the_scheduler_of_stable_diffusion_has_its_published_settings():
    config = stable_diffusion_scheduler().config
    assert dict(config).items() >= (SD21_CONFIG | {"timestep_spacing": "trailing", "clip_sample": False}).items()

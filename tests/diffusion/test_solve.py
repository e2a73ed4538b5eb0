from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from consistency_tta.contracts import Conditioning, TextEmbedding
from consistency_tta.diffusion.grid import LinspaceGrid, UniformGrid
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.sample import sample_diffusion
from consistency_tta.diffusion.schedules import schedule_from_config
from consistency_tta.diffusion.solve import DDIM, DPMSolver2S, Heun, transfer
from tests.diffusion.conftest import GaussianDenoiser
from tests.diffusion.outputs import DIFFUSION_TYPES, output_for

SOLVERS = [DDIM(), Heun(), DPMSolver2S()]


def named(solver):
    return type(solver).__name__


def error_of(solver, teacher, z_t, times, conditioning):
    """Largest distance from the exact solution after stepping through the times."""
    z = z_t
    for t, s in pairwise(times.unsqueeze(1).expand(-1, len(z_t))):
        z = solver(teacher, z, t, s, conditioning)
    exact = teacher.exact(z_t, t.new_full((len(z_t),), times[0]), s, conditioning)
    return (z - exact).abs().max().item()


@pytest.mark.parametrize(("solver", "order"), [(DDIM(), 1), (Heun(), 2), (DPMSolver2S(), 2)], ids=str)
@pytest.mark.parametrize("bottom", [60.0, 300.0])
def test_converges_at_its_order(teacher, noise, conditioning, solver, order, bottom):
    grids = [torch.linspace(1000, bottom, steps + 1, dtype=torch.float64) for steps in (64, 128, 256, 512)]
    errors = [error_of(solver, teacher, noise, times, conditioning) for times in grids]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders[-1] == pytest.approx(order, abs=0.1)
    assert errors[-1] < 0.1 * 2.0 ** (-3 * (order - 1))


@pytest.mark.parametrize(("solver", "order"), [(DDIM(), 1), (Heun(), 2), (DPMSolver2S(), 2)], ids=str)
def test_converges_at_its_order_from_the_top_of_every_schedule(any_teacher, noise, conditioning, solver, order):
    """The first step starts at alpha_T, which is 0 for some."""
    bottom = any_teacher.schedule.time(torch.tensor([0.2], dtype=torch.float64)).item()
    grids = [torch.linspace(1000, bottom, steps + 1, dtype=torch.float64) for steps in (256, 512)]
    if any_teacher.schedule.snr(torch.tensor(1000.0)) < 1e-4 and not any_teacher.schedule.zero_terminal_snr:
        # sigma / alpha is 500 at the top and falls steeply: there equal steps of time show the order much later.
        top = any_teacher.schedule.time(torch.tensor(10.0, dtype=torch.float64))
        grids = [torch.lerp(top, grid[-1], torch.linspace(0, 1, len(grid), dtype=torch.float64)) for grid in grids]
    coarse, fine = (error_of(solver, any_teacher, noise, times, conditioning) for times in grids)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.15)
    assert fine < 0.1 * 2.0 ** (-3 * (order - 1))


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_from_the_top_of_every_schedule_are_finite(any_teacher, noise, conditioning, solver, dtype):
    t, s = torch.full((3,), 1000.0), torch.tensor([999.0, 20.0, 0.0])
    z_t = noise.to(dtype).requires_grad_()
    z_s = solver(any_teacher, z_t, t, s, conditioning)
    assert z_s.isfinite().all()
    [gradient] = torch.autograd.grad(z_s.sum(), z_t)
    assert gradient.isfinite().all()
    torch.testing.assert_close(z_s[2], any_teacher(z_t, t, conditioning)[2].to(dtype), rtol=1e-5, atol=1e-6)


def test_dpm_solver_queries_halfway_from_every_top(any_teacher, noise, conditioning):
    """In alpha / sigma where alpha_T = 0, in log-SNR elsewhere; both are strictly between the times."""
    t, s = torch.full((3,), 1000.0, dtype=torch.float64), torch.tensor([999.0, 500.0, 20.0], dtype=torch.float64)
    DPMSolver2S()(any_teacher, noise, t, s, conditioning)
    [_, (_, middle, _)] = any_teacher.queries
    schedule = any_teacher.schedule
    assert ((s < middle) & (middle < t)).all()
    if schedule.zero_terminal_snr:
        expected = (schedule.snr(s).sqrt() + schedule.snr(t).sqrt()) / 2
    else:
        expected = (schedule.snr(s) * schedule.snr(t)) ** 0.25
    torch.testing.assert_close(schedule.snr(middle).sqrt(), expected)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("num_steps", [1, 4, 25])
def test_ddim_is_the_euler_method_of_flow_matching_in_diffusers(noise, conditioning, shift, num_steps):
    reference = FlowMatchEulerDiscreteScheduler(shift=shift)
    teacher = GaussianDenoiser(schedule_from_config(reference.config))
    reference.set_timesteps(sigmas=np.linspace(1, 1 / num_steps, num_steps))
    z, times = noise, UniformGrid()(teacher.schedule, num_steps)
    ours = sample_diffusion(teacher, DDIM(), times, noise, conditioning)
    for timestep, t in zip(reference.timesteps, times[:-1], strict=True):
        torch.testing.assert_close(teacher.schedule.timestep(t).float(), timestep)
        z_0 = teacher(z, t.expand(3), conditioning)
        sigma = teacher.schedule.sigma(t)
        z = reference.step((z - z_0) / sigma, timestep, z).prev_sample
    assert_same(ours, z)


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
def test_many_steps_reproduce_the_exact_map(teacher, noise, conditioning, solver):
    # The last step, from the lowest noise level the teacher knows, is first order with any solver.
    tolerance = {DDIM: 1e-2, Heun: 3e-3, DPMSolver2S: 3e-3}[type(solver)]
    assert error_of(solver, teacher, noise, UniformGrid()(teacher.schedule, 1000), conditioning) < tolerance


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
@pytest.mark.parametrize("s", [[500.0, 0.0, 3.0], [3.0, 500.0, 0.0], [0.0, 699.0, 1.0]])
def test_a_teacher_that_knows_z_0_is_solved_in_one_step(teacher, noise, conditioning, solver, s):
    """With c = 0 every z_t comes of one z_0, and all solvers are exact at any step size."""
    teacher.std = 0.0
    t = torch.tensor([1000.0, 700.0, 3.5])
    s = torch.minimum(torch.tensor(s), t - 0.5)
    exact = teacher.exact(noise, t, s, conditioning)
    torch.testing.assert_close(solver(teacher, noise, t, s, conditioning), exact)


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
def test_per_example_times_equal_a_loop(teacher, noise, conditioning, solver):
    t, s = torch.tensor([1000.0, 55.5, 1.0]), torch.tensor([940.0, 1.0, 0.0])
    together = solver(teacher, noise, t, s, conditioning)
    for b in range(3):
        row = torch.tensor([b])
        alone = solver(teacher, noise[row], t[row], s[row], conditioning.rows(row))
        torch.testing.assert_close(together[row], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
def test_the_last_step_returns_the_denoiser_s_estimate(teacher, noise, conditioning, solver):
    t = torch.tensor([1000.0, 55.5, 1.0])
    z_0 = solver(teacher, noise, t, torch.zeros(3), conditioning)
    torch.testing.assert_close(z_0, teacher(noise, t, conditioning), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_and_right_at_the_last_step(teacher, noise, conditioning, solver, dtype):
    z_t = noise.to(dtype).requires_grad_()
    t, s = torch.tensor([1000.0, 55.5, 1.0]), torch.tensor([940.0, 0.0, 0.0])
    with torch.autograd.set_detect_anomaly(True):
        solver(teacher, z_t, t, s, conditioning).sum().backward()
    assert z_t.grad.isfinite().all()
    alpha, sigma = teacher.schedule.alpha(t), teacher.schedule.sigma(t)
    slope = alpha * teacher.std**2 / (alpha**2 * teacher.std**2 + sigma**2)
    expected = expand(slope[1:], noise).expand_as(noise[1:]).to(dtype)
    torch.testing.assert_close(z_t.grad[1:], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
def test_queries_are_as_many_as_it_says_and_in_range(teacher, noise, conditioning, solver):
    solver(teacher, noise, torch.tensor([1000.0, 2.0, 1.0]), torch.tensor([900.0, 1.0, 0.0]), conditioning)
    assert len(teacher.queries) == solver.queries_per_step
    for z_t, t, _ in teacher.queries:
        assert z_t.isfinite().all()
        assert ((t > 0) & (t <= 1000)).all()


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
def test_half_precision_latents_lose_only_their_own_rounding(teacher, noise, conditioning, solver):
    t, s = torch.tensor([1000.0, 55.5, 3.0]), torch.tensor([940.0, 20.0, 0.0])
    noise = noise.bfloat16()
    z_s = solver(teacher, noise, t, s, conditioning)
    assert z_s.dtype == torch.bfloat16
    assert {(z_t.dtype, t.dtype) for z_t, t, _ in teacher.queries} == {(torch.bfloat16, torch.float32)}
    torch.testing.assert_close(z_s.double(), solver(teacher, noise.double(), t, s, conditioning), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("solver", SOLVERS, ids=named)
def test_never_reads_a_value_back_from_the_device(teacher, noise, conditioning, solver):
    """Meta tensors have no values: ``.item()``, ``bool()`` or a branch on one would raise."""
    text = TextEmbedding(conditioning.text.embedding.to("meta"), conditioning.text.mask.to("meta"))
    t = torch.ones(3, device="meta")
    assert solver(teacher.to("meta"), noise.to("meta"), t, t, Conditioning(text)).is_meta


def network_output(teacher, prediction_type, z_t, timestep, conditioning):
    """What a network of this prediction type puts out, given a diffusers timestep."""
    t = torch.full((len(z_t),), float(timestep), dtype=torch.float64) + 1
    alpha, sigma = expand(teacher.schedule.alpha(t), z_t), expand(teacher.schedule.sigma(t), z_t)
    return output_for(prediction_type, teacher(z_t, t, conditioning), z_t, alpha, sigma)


def assert_same(ours, reference):
    assert (ours - reference).abs().max() < 1e-5 * reference.abs().max()


@pytest.mark.parametrize("prediction_type", DIFFUSION_TYPES)
@pytest.mark.parametrize("num_steps", [1, 20, 50])
def test_ddim_trajectory_agrees_with_diffusers(config, teacher, noise, conditioning, prediction_type, num_steps):
    changes = {"timestep_spacing": "trailing", "prediction_type": prediction_type, "clip_sample": False}
    reference = DDIMScheduler.from_config(config, set_alpha_to_one=True, **changes)
    reference.set_timesteps(num_steps)
    times = UniformGrid()(teacher.schedule, num_steps)
    ours = z = teacher.schedule.prior(noise)
    for timestep, (t, s) in zip(reference.timesteps, pairwise(times.unsqueeze(1).expand(-1, 3)), strict=True):
        z = reference.step(network_output(teacher, prediction_type, z, timestep, conditioning), timestep, z).prev_sample
        ours = DDIM()(teacher, ours, t, s, conditioning)
        assert_same(ours, z)


@pytest.mark.parametrize("prediction_type", DIFFUSION_TYPES)
@pytest.mark.parametrize("num_steps", [2, 18, 50])
def test_heun_trajectory_agrees_with_diffusers(config, teacher, noise, conditioning, prediction_type, num_steps):
    reference = HeunDiscreteScheduler.from_config(config, prediction_type=prediction_type)
    reference.set_timesteps(num_steps)
    x = noise * reference.init_noise_sigma
    for timestep in reference.timesteps:
        z_t = reference.scale_model_input(x, timestep)
        x = reference.step(network_output(teacher, prediction_type, z_t, timestep, conditioning), timestep, x)
        x = x.prev_sample
    times = LinspaceGrid()(teacher.schedule, num_steps)
    assert_same(sample_diffusion(teacher, Heun(), times, noise, conditioning), x)


@pytest.mark.parametrize("prediction_type", DIFFUSION_TYPES)
def test_dpm_solver_trajectory_agrees_with_diffusers(config, teacher, noise, conditioning, prediction_type):
    """Every second of exponentially spaced noise levels is the middle, in log-SNR, of the levels around it."""
    reference = DPMSolverSinglestepScheduler.from_config(
        config,
        solver_order=2,
        use_exponential_sigmas=True,
        final_sigmas_type="sigma_min",
        prediction_type=prediction_type,
    )
    reference.set_timesteps(20)
    # The reference rounds its timesteps; our teacher is queried at the noise level itself.
    times = teacher.schedule.time(reference.sigmas.double())
    reference.set_begin_index(0)
    ours = z = teacher.schedule.prior(noise)
    compared = 0
    # The last pair repeats the lowest noise level, and so is no midpoint step.
    for k, timestep in enumerate(reference.timesteps[:-2]):
        output = network_output(teacher, prediction_type, z, times[k] - 1, conditioning)
        z = reference.step(output, timestep, z).prev_sample
        if reference.order_list[k] == 2:
            ours = DPMSolver2S()(teacher, ours, times[k - 1].expand(3), times[k + 1].expand(3), conditioning)
            assert_same(ours, z)
            compared += 1
    assert compared == 9


def test_transfer_ends_in_z_0_exactly(schedule, noise):
    t = torch.tensor([1000.0, 55.5, 1.0])
    z_t, z_0 = noise.float(), noise.flip(1).float()
    assert torch.equal(transfer(schedule, z_t, z_0, t, torch.zeros(3)), z_0)
    torch.testing.assert_close(transfer(schedule, z_t, z_0, t, t), z_t)


@pytest.mark.parametrize("num_steps", [4, 20])
def test_ddim_trajectory_to_zero_terminal_snr_agrees_with_diffusers(config, noise, conditioning, num_steps):
    changes = {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "clip_sample": False}
    reference = DDIMScheduler.from_config(config, **changes)
    reference.set_timesteps(num_steps)
    teacher = GaussianDenoiser(schedule_from_config(reference.config).double())
    times = UniformGrid()(teacher.schedule, num_steps)
    z = noise
    for timestep in reference.timesteps:
        z = reference.step(network_output(teacher, "v_prediction", z, timestep, conditioning), timestep, z).prev_sample
    assert_same(sample_diffusion(teacher, DDIM(), times, noise, conditioning), z)

"""What a denoiser with a second time means, and sampling with it, on Gaussian data."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.diffusion.flow_map import (
    estimate_between,
    jump,
    noise_share,
    noise_share_derivative,
    time_of_share,
)
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.noise import velocity
from consistency_tta.diffusion.sample import sample_consistency, sample_trajectory
from consistency_tta.diffusion.sampler import ConsistencySampler, ODESampler, TrajectorySampler, default_sampler
from consistency_tta.diffusion.solve import transfer
from consistency_tta.runtime.errors import ConfigurationError
from tests.flow_maps import MEAN, STD, GaussianFlowMap, conditioning

T = torch.tensor([1000.0, 731.4, 200.3], dtype=torch.float64)
S = torch.tensor([500.5, 0.0, 199.1], dtype=torch.float64)


@pytest.fixture
def z_t():
    return torch.randn(3, 1, 2, 2, dtype=torch.float64)


def test_a_jump_ends_on_the_trajectory(any_schedule, z_t):
    network = GaussianFlowMap(any_schedule)
    torch.testing.assert_close(jump(network, z_t, T, S, conditioning(3)), network.exact(z_t, T, S), rtol=0, atol=1e-10)


def test_two_jumps_are_one(any_schedule, z_t):
    network, between = GaussianFlowMap(any_schedule), (T + S) / 2
    there = jump(network, z_t, T, between, conditioning(3))
    both = jump(network, there, between, S, conditioning(3))
    torch.testing.assert_close(both, jump(network, z_t, T, S, conditioning(3)), rtol=0, atol=1e-10)


def test_the_estimate_between_two_points_inverts_the_step(any_schedule, z_t):
    z_0 = torch.randn_like(z_t)
    z_s = transfer(any_schedule, z_t, z_0, T, S)
    torch.testing.assert_close(estimate_between(any_schedule, z_t, z_s, T, S), z_0, rtol=0, atol=1e-9)


def test_at_s_t_the_estimate_is_the_denoisers(any_schedule, z_t):
    network, near = GaussianFlowMap(any_schedule), T * (1 - 1e-7)
    without = network(z_t, T, conditioning(3))
    torch.testing.assert_close(network(z_t, T, conditioning(3), near), without, rtol=0, atol=1e-5)


def test_the_share_of_noise_and_its_derivative(any_schedule):
    t = torch.tensor([812.3, 300.7, 2.5], dtype=torch.float64)
    share = noise_share(any_schedule, t)
    torch.testing.assert_close(time_of_share(any_schedule, share), t)
    ahead, behind = (noise_share(any_schedule, t + h) for h in (1e-4, -1e-4))
    torch.testing.assert_close(noise_share_derivative(any_schedule, t), (ahead - behind) / 2e-4, rtol=1e-5, atol=0)


def test_the_velocity_over_the_share_is_epsilon_minus_z_0(any_schedule, z_t):
    """Of x = z / (alpha + sigma), by the chain rule from dz/dt."""
    z_0, t = torch.randn_like(z_t), torch.tensor([812.3, 300.7, 2.5], dtype=torch.float64)
    alpha, sigma = (value.reshape(3, 1, 1, 1) for value in (any_schedule.alpha(t), any_schedule.sigma(t)))
    slope = any_schedule.alpha_derivative(t) + any_schedule.sigma_derivative(t)
    dz = velocity(any_schedule, z_0, z_t, t)
    dx = dz / (alpha + sigma) - z_t * slope.reshape(3, 1, 1, 1) / (alpha + sigma) ** 2
    epsilon = (z_t - alpha * z_0) / sigma
    per_share = dx / noise_share_derivative(any_schedule, t).reshape(3, 1, 1, 1)
    torch.testing.assert_close(per_share, epsilon - z_0, rtol=0, atol=1e-9)


@pytest.fixture
def exact(any_schedule):
    return GaussianFlowMap(any_schedule)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("queries", [1, 2, 4])
def test_samples_have_the_datas_mean_and_variance(exact, gamma, queries):
    """Starting from the right z_T: its mean alpha_T MEAN, which pure noise lacks, is added."""
    generator = torch.Generator().manual_seed(0)
    start = exact.marginal_std(T[:1]) * torch.randn(20_000, 1, 1, 1, dtype=torch.float64, generator=generator)
    noise = (start + exact.schedule.alpha(T[:1]) * MEAN) / exact.schedule.sigma(T[:1])
    sampler = TrajectorySampler(queries, gamma=gamma)
    made, counted = sampler.sample(exact, noise, conditioning(20_000), generator=generator)
    assert counted == queries
    # Five standard errors of 20,000 draws.
    assert float(made.mean()) == pytest.approx(MEAN, abs=5 * STD / 20_000**0.5)
    assert float(made.std()) == pytest.approx(STD, abs=5 * STD / 40_000**0.5)


def test_gamma_0_draws_nothing_and_ends_where_one_query_does(exact, z_t):
    state = torch.random.get_rng_state()
    several = sample_trajectory(exact, z_t, conditioning(3), UniformGrid()(exact.schedule, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    one = sample_trajectory(exact, z_t, conditioning(3), [1000.0, 0.0])
    torch.testing.assert_close(several, one, rtol=0, atol=1e-9)


def test_gamma_1_is_consistency_sampling(exact, z_t):
    class OneTime(GaussianFlowMap):
        def forward(self, z_t, t, conditioning, s=None):
            return super().forward(z_t, t, conditioning, torch.zeros_like(t))

    times = UniformGrid()(exact.schedule, 4)
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    made = sample_trajectory(exact, z_t, conditioning(3), times, 1.0, seeds[0])
    expected = sample_consistency(OneTime(exact.schedule), z_t, conditioning(3), times[:-1], seeds[1])
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gamma", [-0.1, 1.1])
def test_gamma_is_a_share(gamma):
    with pytest.raises(ConfigurationError, match=str(gamma)):
        TrajectorySampler(gamma=gamma)


def test_times_must_be_a_grid(exact, z_t):
    for times in ([1000.0, 500.0], [900.0, 0.0], [1000.0, 500.0, 500.0, 0.0]):
        with pytest.raises(ConfigurationError, match="1000"):
            sample_trajectory(exact, z_t, conditioning(3), times)


def test_the_sampler_that_goes_with_a_student():
    assert isinstance(default_sampler(one_query=True, second_time=False), ConsistencySampler)
    assert isinstance(default_sampler(one_query=True, second_time=True), TrajectorySampler)
    solver = default_sampler(one_query=False, second_time=False)
    assert isinstance(solver, ODESampler)
    assert not solver.classifier_free_guidance

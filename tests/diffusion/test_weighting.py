import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from consistency_tta.diffusion.grid import LinspaceGrid
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.schedules import schedule_from_config
from consistency_tta.diffusion.weighting import FlooredMinSNR, FlowMatching, InverseGap, MinSNR, SNRPlusOne, Uniform
from consistency_tta.runtime.errors import ConfigurationError
from tests.diffusion.outputs import output_for

WEIGHTINGS = [Uniform(), MinSNR(), SNRPlusOne(), SNRPlusOne(0.5), FlooredMinSNR(), InverseGap()]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_are_finite_and_not_negative(schedule, weighting):
    t = torch.arange(1, 1001)
    weights = weighting(t, schedule)
    assert weights.shape == t.shape
    assert weights.dtype == torch.float32
    assert weights.isfinite().all()
    assert (weights >= 0).all()


def errors(schedule, prediction_type, noise, t):
    """Squared error (B,) of what the network puts out, and of z_0, for two guesses of z_0."""
    alpha, sigma = expand(schedule.alpha(t), noise), expand(schedule.sigma(t), noise)
    guess, other = noise.flip(1), noise.flip(2)
    outputs = [output_for(prediction_type, z_0, noise, alpha, sigma) for z_0 in (guess, other)]
    return (outputs[0] - outputs[1]).square().mean((1, 2, 3)), (guess - other).square().mean((1, 2, 3))


def test_snr_plus_one_is_the_plain_v_loss(schedule, noise):
    t = torch.tensor([5.0, 400.0, 1000.0])
    v_loss, z_0_loss = errors(schedule.double(), "v_prediction", noise, t)
    torch.testing.assert_close(SNRPlusOne()(t, schedule) * z_0_loss, v_loss)


def test_snr_plus_one_of_another_scale_is_the_loss_of_edm(schedule):
    """1 / c_out^2 of Karras et al. 2022, table 1, at their noise level sigma / alpha."""
    t = torch.tensor([5.0, 400.0, 1000.0])
    level = schedule.ratio(t)
    torch.testing.assert_close(SNRPlusOne(0.5)(t, schedule), (level**2 + 0.5**2) / (level * 0.5) ** 2)


def test_inverse_gap_keeps_its_floor_where_sigma_over_alpha_is_infinite(config):
    ends_in_noise = schedule_from_config(config | {"rescale_betas_zero_snr": True})
    assert InverseGap(floor=0.2)(torch.tensor([1000.0]), ends_in_noise) == 0.2


def test_min_snr_is_tango_s_weight_on_v(config, schedule, noise):
    t = torch.tensor([5, 400, 1000])
    v_loss, z_0_loss = errors(schedule.double(), "v_prediction", noise, t)
    snr = compute_snr(DDPMScheduler.from_config(config), t - 1)
    tango = torch.minimum(snr, torch.tensor(5.0)) / (snr + 1)
    torch.testing.assert_close(MinSNR()(t, schedule) * z_0_loss, tango * v_loss, rtol=1e-5, atol=0)


def test_min_snr_without_a_maximum_is_the_plain_epsilon_loss(schedule, noise):
    t = torch.tensor([5.0, 400.0, 1000.0])
    epsilon_loss, z_0_loss = errors(schedule.double(), "epsilon", noise, t)
    torch.testing.assert_close(MinSNR(gamma=float("inf"))(t, schedule) * z_0_loss, epsilon_loss)


def test_min_snr_takes_any_maximum_above_zero(schedule):
    assert MinSNR(gamma=0.5)(torch.arange(1, 1001), schedule).max() == 0.5


def test_min_snr_starves_the_top_step_and_the_floor_feeds_it(schedule):
    times = LinspaceGrid()(schedule, 18)[:-1]

    def terminal_share(weighting):
        weights = weighting(times, schedule)
        return (weights[0] / weights.sum()).item()

    assert terminal_share(MinSNR()) == pytest.approx(0.0002, abs=0.00005)
    assert terminal_share(FlooredMinSNR()) > 0.02
    assert terminal_share(Uniform()) == pytest.approx(1 / 18)


def test_the_floor_changes_only_what_is_below_it(schedule):
    t = torch.arange(1, 1001)
    plain, floored = MinSNR()(t, schedule), FlooredMinSNR(gamma=5, floor=0.5)(t, schedule)
    assert torch.equal(floored, plain.clamp(min=0.5))
    assert floored.min() == 0.5
    assert floored.max() == 5


@pytest.mark.parametrize("weighting", [*WEIGHTINGS, FlowMatching()])
def test_weights_are_finite_at_both_ends_of_every_schedule(any_schedule, weighting):
    weights = weighting(torch.tensor([0.0, 0.001, 1.0, 500.0, 1000.0]), any_schedule)
    assert weights.isfinite().all()
    assert (weights >= 0).all()


def test_flow_matching_is_the_plain_loss_of_the_velocity(any_schedule, noise):
    t = torch.tensor([5.0, 400.0, 1000.0], dtype=torch.float64)
    flow_loss, z_0_loss = errors(any_schedule, "flow_prediction", noise, t)
    torch.testing.assert_close(FlowMatching()(t, any_schedule) * z_0_loss, flow_loss)


@pytest.mark.parametrize(
    "make",
    [lambda: MinSNR(gamma=0), lambda: FlooredMinSNR(floor=6), lambda: FlooredMinSNR(floor=0), lambda: SNRPlusOne(0)],
)
def test_refuses_impossible_bounds(make):
    with pytest.raises(ConfigurationError):
        make()


def test_the_inverse_gap_is_that_of_the_pairs_of_consistency_training(schedule):
    """1 / (r n(r)) with n(r) = 1 + k / (1 + exp(b r)), Geng et al. 2024, section 3."""
    t = torch.tensor([1.0, 300.0, 700.0, 1000.0])
    r = schedule.ratio(t)
    n = 1 + 8 / (1 + (2 * r).exp())
    torch.testing.assert_close(InverseGap(k=8, b=2, floor=0)(t, schedule), 1 / (r * n))


@pytest.mark.parametrize("name", ["k", "b", "floor"])
def test_the_inverse_gap_takes_zero_and_nothing_below(name):
    InverseGap(**{name: 0})
    with pytest.raises(ConfigurationError):
        InverseGap(**{name: -0.1})

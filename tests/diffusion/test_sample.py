import pytest
import torch

from consistency_tta.contracts import Conditioning, Denoiser, TextEmbedding
from consistency_tta.diffusion.grid import KarrasGrid, LinspaceGrid, UniformGrid
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.diffusion.sample import (
    consistency_times,
    sample_consistency,
    sample_diffusion,
    sample_trajectory,
)
from consistency_tta.diffusion.solve import DDIM, DPMSolver2S, Heun
from consistency_tta.runtime.errors import ConfigurationError
from tests.flow_maps import GaussianFlowMap

TOP = 1000.0
TIMES = [TOP, 600.0, 300.0, 0.0]
WAYS = {
    "diffusion": lambda denoiser, *given, **more: sample_diffusion(denoiser, Heun(), TIMES, *given, **more),
    "consistency": lambda *given, **more: sample_consistency(*given, TIMES[:-1], **more),
    "trajectory": lambda *given, **more: sample_trajectory(*given, TIMES, 0.5, **more),
}


def seeded():
    return torch.Generator().manual_seed(0)


def exact_sample(teacher, noise, conditioning):
    top = torch.full((len(noise),), TOP)
    return teacher.exact(teacher.schedule.prior(noise), top, torch.zeros_like(top), conditioning)


@pytest.mark.parametrize("solver", [Heun(), DPMSolver2S()], ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("grid", [UniformGrid(), LinspaceGrid(), KarrasGrid()], ids=lambda grid: type(grid).__name__)
def test_diffusion_finds_the_ode_s_end(teacher, noise, conditioning, solver, grid):
    times = grid(teacher.schedule, 200)
    z_0 = sample_diffusion(teacher, solver, times, noise, conditioning)
    # What the last step leaves, which is first order; the uniform grid takes it from t = 5, the others from t = 1.
    left = (teacher.schedule.ratio(times[-2]) / teacher.std).square().item() / 2
    assert (z_0 - exact_sample(teacher, noise, conditioning)).abs().max() < 4 * left


def test_guided_diffusion_samples_the_guided_gaussian(teacher, noise, conditioning):
    """Guidance of two Gaussians of equal variance is the Gaussian of the guided mean."""
    empty = TextEmbedding(torch.full((1, 1, 2), -0.4, dtype=torch.float64), torch.ones(1, 1).bool())
    scale = torch.tensor([1.0, 2.0, 4.0])
    guided = Conditioning(conditioning.text, scale)
    z_0 = sample_diffusion(CFGDenoiser(teacher, empty), Heun(), KarrasGrid()(teacher.schedule, 100), noise, guided)
    guided_mean = -0.4 + scale.reshape(3, 1, 1) * (conditioning.text.embedding + 0.4)
    guided = Conditioning(TextEmbedding(guided_mean, conditioning.text.mask))
    torch.testing.assert_close(z_0, exact_sample(teacher, noise, guided), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("solver", [DDIM(), Heun(), DPMSolver2S()], ids=lambda solver: type(solver).__name__)
def test_diffusion_samples_a_mixture(mixture, conditioning, solver):
    noise = torch.randn(1, 1, 100, 100, generator=seeded())
    z_0 = sample_diffusion(mixture, solver, KarrasGrid()(mixture.schedule, 160), noise, conditioning)
    upper = z_0 > -0.5
    assert upper.double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert z_0[upper].mean().item() == pytest.approx(0.5, abs=0.02)
    assert z_0[~upper].mean().item() == pytest.approx(-1.5, abs=0.02)
    assert z_0[upper].std().item() == pytest.approx(0.2, abs=0.02)


def test_one_consistency_query_is_the_student_at_the_top(teacher, student, noise, conditioning):
    z_0 = sample_consistency(student, noise, conditioning, [TOP])
    torch.testing.assert_close(z_0, exact_sample(teacher, noise, conditioning), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_consistency_keeps_the_distribution_over_any_number_of_queries(student, num_steps):
    """The exact map sends noise of any level to the data, so fresh noise must not change mean or deviation."""
    noise = torch.randn(1, 1, 150, 150, dtype=torch.float64, generator=seeded())
    caption = Conditioning(TextEmbedding(torch.full((1, 1, 1), 2.0), torch.ones(1, 1).bool()))
    times = consistency_times(student.schedule, num_steps)
    z_0 = sample_consistency(student, noise, caption, times, generator=seeded().manual_seed(1))
    # The generation's start leaves out alpha_T m, as every diffusion sampler does; one query shows it.
    assert z_0.mean().item() == pytest.approx(2.0, abs=0.1)
    assert z_0.std().item() == pytest.approx(0.6, abs=0.015)


def test_fresh_noise_comes_from_the_generator_alone(student, noise, conditioning):
    times = consistency_times(student.schedule, 3)

    def sample(seed):
        generators = [torch.Generator().manual_seed(seed + b) for b in range(3)]
        return sample_consistency(student, noise, conditioning, times, generator=generators)

    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(7))
    row = torch.tensor([1])
    alone = sample_consistency(
        student, noise[row], conditioning.rows(row), times, generator=[torch.Generator().manual_seed(1)]
    )
    torch.testing.assert_close(sample(0)[row], alone)


class Recorded(Denoiser):
    """A flow map that keeps what it was asked, and answers in float64."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.flow_map, self.latents, self.times = schedule, GaussianFlowMap(schedule), [], []

    def forward(self, z_t, t, conditioning, s=None):
        self.latents.append(z_t)
        self.times += [t] if s is None else [t, s]
        return self.flow_map(z_t, t, conditioning, s).double()


@pytest.mark.parametrize("way", [*WAYS, "one query"])
def test_samplers_keep_the_noise_s_dtype_and_no_graph(schedule, noise, conditioning, way):
    sample = WAYS.get(way, lambda *given: sample_consistency(*given, TIMES[:1]))
    denoiser = Recorded(schedule.double())
    z_0 = sample(denoiser, noise.bfloat16().requires_grad_(), conditioning)
    assert {z.dtype for z in [z_0, *denoiser.latents]} == {torch.bfloat16}
    assert {(t.dtype, t.shape) for t in denoiser.times} == {(torch.float32, (3,))}
    assert not z_0.requires_grad


@pytest.mark.parametrize("way", WAYS)
def test_each_step_is_seen_and_may_be_replaced(schedule, noise, conditioning, way):
    seen, denoiser = [], Recorded(schedule.double())

    def on_step(index, time, z):
        seen.append((index, time))
        return torch.full_like(z, index)

    z_0 = WAYS[way](denoiser, noise, conditioning, on_step=on_step)
    assert seen == [(0, 1000.0), (1, 600.0), (2, 300.0)]
    assert torch.equal(z_0, torch.full_like(noise, 2))
    if way != "consistency":  # which adds noise before it queries
        assert torch.equal(denoiser.latents[-1 if way == "trajectory" else -2], torch.ones_like(noise))


@pytest.mark.parametrize("way", WAYS)
def test_progress_is_shown_on_request_only(schedule, noise, conditioning, way, capsys):
    WAYS[way](Recorded(schedule), noise, conditioning)
    assert way not in capsys.readouterr().err
    WAYS[way](Recorded(schedule), noise, conditioning, progress=True)
    shown = capsys.readouterr().err
    assert way in shown
    assert ("2/2" if way == "consistency" else "3/3") in shown


@pytest.mark.parametrize("queries", [1, 2])
def test_one_query_is_nothing_to_wait_for(student, noise, conditioning, queries, capsys):
    sample_consistency(student, noise, conditioning, TIMES[:queries], progress=True)
    assert ("1/1" in capsys.readouterr().err) == (queries == 2)


def test_consistency_times_start_at_the_top_and_leave_zero_out(schedule):
    assert consistency_times(schedule, 1).tolist() == [TOP]
    assert consistency_times(schedule, 4).tolist() == [1000, 750, 500, 250]


@pytest.mark.parametrize("times", [[999.0, 0.0], [1000.0, 500.0], [1000.0, 500.0, 500.0, 0.0], [0.0]])
def test_diffusion_refuses_times_that_are_no_grid(teacher, noise, conditioning, times):
    with pytest.raises(ConfigurationError, match="grid_times"):
        sample_diffusion(teacher, DDIM(), torch.tensor(times), noise, conditioning)


@pytest.mark.parametrize("times", [[], [999.0], [1000.0, 0.0], [1000.0, 1000.0]])
def test_consistency_refuses_impossible_times(student, noise, conditioning, times):
    with pytest.raises(ConfigurationError, match="times"):
        sample_consistency(student, noise, conditioning, times)


def test_a_consistency_model_may_be_queried_below_the_first_time_of_training(student, noise, conditioning):
    assert sample_consistency(student, noise, conditioning, [TOP, 0.5]).isfinite().all()

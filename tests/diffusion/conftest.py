"""Teachers whose denoiser, and whose probability-flow ODE, are known in closed form."""

import pytest
import torch

from consistency_tta.contracts import Conditioning, Denoiser, TextEmbedding
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.schedules import CosineSchedule, RectifiedFlowSchedule, schedule_from_config

SD21_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


class GaussianDenoiser(Denoiser):
    """z_0 ~ N(m, c^2 I), where m (B, C) is the mean of the caption's unmasked token embeddings."""

    def __init__(self, schedule, std=0.6):
        super().__init__()
        self.schedule = schedule
        self.std = std
        self.queries = []

    def mean(self, conditioning, like):
        mask = conditioning.text.mask.unsqueeze(2).to(conditioning.text.embedding.dtype)
        return expand((conditioning.text.embedding * mask).sum(1) / mask.sum(1), like)

    def forward(self, z_t, t, conditioning):
        self.queries.append((z_t, t, conditioning))
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        mean, variance = self.mean(conditioning, z_t), self.std**2
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (z_t - alpha * mean)

    def exact(self, z_t, t, s, conditioning):
        """Where the probability-flow ODE carries z_t."""

        def marginal_std(alpha, sigma):
            return (alpha**2 * self.std**2 + sigma**2).sqrt()

        mean = self.mean(conditioning, z_t)
        alpha_t, sigma_t = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        alpha_s, sigma_s = expand(self.schedule.alpha(s), z_t), expand(self.schedule.sigma(s), z_t)
        scale = marginal_std(alpha_s, sigma_s) / marginal_std(alpha_t, sigma_t)
        return alpha_s * mean + scale * (z_t - alpha_t * mean)


class MixtureDenoiser(Denoiser):
    """z_0 ~ sum_k p_k N(m_k, c^2), every element for itself; unconditional."""

    def __init__(self, schedule, means, probabilities, std):
        super().__init__()
        self.schedule = schedule
        self.means, self.probabilities, self.std = torch.tensor(means), torch.tensor(probabilities), std

    def forward(self, z_t, t, conditioning):
        z_t = z_t.unsqueeze(-1)
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        variance = alpha**2 * self.std**2 + sigma**2
        residual = z_t - alpha * self.means
        responsibility = (self.probabilities.log() - residual**2 / (2 * variance)).softmax(-1)
        return (responsibility * (self.means + alpha * self.std**2 / variance * residual)).sum(-1)


class ExactStudent(Denoiser):
    """The consistency map of a Gaussian teacher."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher
        self.schedule = teacher.schedule

    def forward(self, z_t, t, conditioning):
        return self.teacher.exact(z_t, t, torch.zeros_like(t), conditioning)


@pytest.fixture
def config():
    return dict(SD21_CONFIG)


@pytest.fixture
def schedule(config):
    return schedule_from_config(config)


SCHEDULES = {
    "variance_preserving": lambda: schedule_from_config(SD21_CONFIG),
    "zero_terminal_snr": lambda: schedule_from_config(SD21_CONFIG | {"rescale_betas_zero_snr": True}),
    "rectified_flow": RectifiedFlowSchedule,
    "shifted_flow": lambda: RectifiedFlowSchedule(1000, shift=3.0),
    "cosine": CosineSchedule.nichol_dhariwal,
    "stable_audio": lambda: CosineSchedule.between_ratios(1000, 0.3, 500.0),
}


@pytest.fixture(params=SCHEDULES)
def any_schedule(request):
    """Of every family, in float64."""
    return SCHEDULES[request.param]().double()


@pytest.fixture
def any_teacher(any_schedule):
    """Of every family, in float64, so that only the solvers' own errors are seen."""
    return GaussianDenoiser(any_schedule)


@pytest.fixture
def teacher(schedule):
    """In float64, so that only the solvers' own errors are seen."""
    return GaussianDenoiser(schedule.double())


@pytest.fixture
def mixture(schedule):
    """Of mean zero, since generation starts without alpha_T m, which would tilt the balance of the modes."""
    return MixtureDenoiser(schedule, means=[-1.5, 0.5], probabilities=[0.25, 0.75], std=0.2)


@pytest.fixture
def student(teacher):
    return ExactStudent(teacher)


@pytest.fixture
def noise():
    return torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def conditioning():
    """Three captions of one token, for the channels' means."""
    embedding = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-0.3, 0.7]], dtype=torch.float64).unsqueeze(1)
    return Conditioning(TextEmbedding(embedding, torch.ones(3, 1, dtype=torch.bool)))

"""Weightings: how much the squared error of z_0 counts at noise level t.

An error e of z_0 is an error (alpha_t / sigma_t) e of epsilon. On a variance-preserving schedule it is an error
e / sigma_t of v. So the weight SNR(t) makes the plain epsilon loss, SNR(t) + 1 = 1 / sigma_t^2 the plain v loss, and a
weight lambda on v's squared error is lambda (SNR + 1) here. An error of the flow epsilon - z_0 is
(alpha_t + sigma_t) / sigma_t e on any schedule.

SNR is infinite at t = 0 alone; weights are clamped to the largest number of their type, so that they stay finite there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Schedule, Weighting
from consistency_tta.runtime.errors import ConfigurationError


class Uniform(Weighting):
    """Every noise level counts the same: the plain z_0 loss."""

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,) of one at t (B,)."""
        return torch.ones_like(schedule.sigma(t))


class SNRPlusOne(Weighting):
    """SNR(t) + 1 / data_std^2: the plain v-prediction loss, expressed on z_0.

    Salimans, Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022, https://arxiv.org/abs/2202.00512,
    section 4. With a standard deviation other than 1 it is the loss of EDM's and TrigFlow's networks: Karras, Aittala,
    Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
    https://arxiv.org/abs/2206.00364, table 1.

    Args:
        data_std: standard deviation of z_0, above 0; about 1 for scaled latents.

    Raises:
        ConfigurationError: if ``data_std`` is not above 0.
    """

    def __init__(self, data_std: float = 1.0) -> None:
        super().__init__()
        if not data_std > 0:
            raise ConfigurationError(f"expected a data_std above 0, got {data_std!r}")
        self.data_std = data_std

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,) at t (B,)."""
        return _finite(schedule.snr(t) + self.data_std**-2)


class InverseGap(Weighting):
    """max(1 / (r n(r)), floor), r = sigma / alpha, n(r) = 1 + k sigmoid(-b r): the weighting of consistency training.

    The paper's weight is 1 / (r_t - r_s), with r_t - r_s = r_t n(r_t) / base^stage; see
    :class:`~consistency_tta.training.TighteningPairs`. The factor base^stage is left out here: it is the same for all
    noise levels and would change the weight of the other losses from stage to stage.

    Geng, Pokle, Luo, Lin, Kolter, "Consistency Models Made Easy", 2024, https://arxiv.org/abs/2406.14548, section 3;
    with k = 0 that of Song and Dhariwal, "Improved Techniques for Training Consistency Models", 2023,
    https://arxiv.org/abs/2310.14189, section 3.3, for equal steps of log r.

    Args:
        k, b: height and slope of n, as in the pairs.
        floor: the smallest weight; 0 in the papers, where T, at which a one-query generation starts, counts next to
            nothing.

    Raises:
        ConfigurationError: if an argument is below 0.
    """

    def __init__(self, k: float = 8.0, b: float = 1.0, floor: float = 0.1) -> None:
        super().__init__()
        if min(k, b, floor) < 0:
            raise ConfigurationError(f"expected k, b and floor of at least 0, got {k}, {b} and {floor}")
        self.k, self.b, self.floor = k, b, floor

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,) at t (B,)."""
        ratio = schedule.ratio(t)
        return _finite((ratio * tightening(ratio, self.k, self.b)).reciprocal().clamp(min=self.floor))


def tightening(ratio: Tensor, k: float, b: float) -> Tensor:
    """n(r) = 1 + k sigmoid(-b r) of Geng et al. 2024: how much wider the pairs are at low noise, of r's shape."""
    return 1 + k * torch.sigmoid(-b * ratio)


class FlowMatching(Weighting):
    """((alpha + sigma) / sigma)^2: the plain flow-matching loss, the squared error of epsilon - z_0, expressed on z_0.

    Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", 2022, https://arxiv.org/abs/2210.02747,
    eq. 23. On a rectified flow without shift it is (T / t)^2.
    """

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,) at t (B,)."""
        return _finite((1 + schedule.ratio(t).reciprocal()).square())


class MinSNR(Weighting):
    """min(SNR(t), gamma).

    Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", 2023, https://arxiv.org/abs/2303.09556,
    section 3.4. The same loss as TANGO's weight min(SNR, gamma) / (SNR + 1) on v.

    Made for training diffusion models, where all steps together make the sound. For distillation into one query
    beware: over an 18-step :class:`~consistency_tta.diffusion.grid.LinspaceGrid` of SD-2.1's schedule the top step, the
    only one a one-query generation uses, gets 0.02 % of the total weight. See :class:`FlooredMinSNR`.

    Args:
        gamma: the largest weight, > 0; 5 in the paper.

    Raises:
        ConfigurationError: if ``gamma`` is not above 0.
    """

    def __init__(self, gamma: float = 5.0) -> None:
        super().__init__()
        if not gamma > 0:
            raise ConfigurationError(f"gamma must be above 0 (5 in Hang et al. 2023), but is {gamma!r}")
        self.gamma = gamma

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,) at t (B,)."""
        return schedule.snr(t).clamp(max=self.gamma)


class FlooredMinSNR(Weighting):
    """SNR(t) clamped to [floor, gamma]: Min-SNR that does not starve the noisiest steps.

    A consistency model answers a one-query generation at t = T alone, where Min-SNR's weight is 1 / 213 for SD-2.1's
    schedule, a thousandth of its weight at low noise. With a floor, the noisiest steps count at least floor / gamma as
    much as the cleanest.

    Args:
        gamma: the largest weight.
        floor: the smallest weight; 0 < floor <= gamma.

    Raises:
        ConfigurationError: if not 0 < floor <= gamma.
    """

    def __init__(self, gamma: float = 5.0, floor: float = 1.0) -> None:
        super().__init__()
        if not 0 < floor <= gamma:
            raise ConfigurationError(f"expected 0 < floor <= gamma, got floor {floor!r} and gamma {gamma!r}")
        self.gamma = gamma
        self.floor = floor

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Weights (B,) at t (B,)."""
        return schedule.snr(t).clamp(self.floor, self.gamma)


def _finite(weights: Tensor) -> Tensor:
    return weights.clamp(max=torch.finfo(weights.dtype).max)

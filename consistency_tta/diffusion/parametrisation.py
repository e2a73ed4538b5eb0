"""What a network's output means.

    epsilon          output = epsilon                          z_0 = (z_t - sigma_t output) / alpha_t
    v_prediction     output = alpha_t epsilon - sigma_t z_0    z_0 = alpha_t z_t - sigma_t output
    sample           output = z_0
    flow_prediction  output = epsilon - z_0                    z_0 = (z_t - sigma_t output) / (alpha_t + sigma_t)

v_prediction is defined for variance-preserving schedules. flow_prediction is the velocity of a rectified flow in
normalised time t / T; of any other schedule it is the velocity of z / (alpha + sigma) over sigma / (alpha + sigma).

All four are affine in one another with coefficients that depend on t alone. A combination a + w (b - a) of two outputs
at the same z_t, t therefore means the same in all of them, and guidance may act on z_0 whatever the network predicts.

Sources: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, https://arxiv.org/abs/2006.11239,
section 3.2 (epsilon); Salimans, Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022,
https://arxiv.org/abs/2202.00512, section 4 and appendix D (v); Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for
Generative Modeling", 2022, https://arxiv.org/abs/2210.02747, eq. 23 (flow, there with time reversed).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from consistency_tta.contracts import Schedule
from consistency_tta.runtime.errors import ConfigurationError


class Parametrisation(ABC):
    """The meaning of a network's output; stateless.

    Tensors are (B, C, *), and alpha and sigma are alpha_t in [0, 1] and sigma_t in (0, 1], shaped (B, 1, ..., 1).
    Compute in float32 or better: at t = T 1 / alpha_t is about 15 for SD-2.1's schedule.
    """

    @abstractmethod
    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The z_0 that ``output`` stands for."""

    @abstractmethod
    def from_clean(self, z_0: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The output that stands for ``z_0``; the inverse of :meth:`to_clean`."""


class Epsilon(Parametrisation):
    """The network predicts the noise; z_0 is undefined where alpha = 0."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z_t - sigma output) / alpha."""
        return (z_t - sigma * output) / alpha

    def from_clean(self, z_0: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z_t - alpha z_0) / sigma."""
        return (z_t - alpha * z_0) / sigma


class VPrediction(Parametrisation):
    """The network predicts v = alpha epsilon - sigma z_0, where alpha^2 + sigma^2 = 1."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Alpha z_t - sigma output."""
        return alpha * z_t - sigma * output

    def from_clean(self, z_0: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(alpha z_t - z_0) / sigma."""
        return (alpha * z_t - z_0) / sigma


class Sample(Parametrisation):
    """The network predicts z_0 itself."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The output."""
        return output

    def from_clean(self, z_0: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """z_0 itself."""
        return z_0


class FlowPrediction(Parametrisation):
    """The network predicts the velocity epsilon - z_0."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z_t - sigma output) / (alpha + sigma)."""
        return (z_t - sigma * output) / (alpha + sigma)

    def from_clean(self, z_0: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z_t - (alpha + sigma) z_0) / sigma."""
        return (z_t - (alpha + sigma) * z_0) / sigma


#: By the names that diffusers schedulers call ``prediction_type``.
PARAMETRISATIONS: Mapping[str, Parametrisation] = MappingProxyType(
    {"epsilon": Epsilon(), "v_prediction": VPrediction(), "sample": Sample(), "flow_prediction": FlowPrediction()}
)


def parametrisation(prediction_type: str, schedule: Schedule | None = None) -> Parametrisation:
    """Look up what a diffusers ``prediction_type`` means.

    Args:
        prediction_type: one of :data:`PARAMETRISATIONS`; see
            :func:`~consistency_tta.diffusion.schedules.prediction_type_from_config`.
        schedule: of the network; if given, the two must go together.

    Raises:
        ConfigurationError: if the name is unknown, or its z_0 is undefined on the schedule.
    """
    if prediction_type not in PARAMETRISATIONS:
        raise ConfigurationError(
            f"prediction_type must be one of {', '.join(PARAMETRISATIONS)}, but is {prediction_type!r}: "
            "correct it in the scheduler's configuration"
        )
    if schedule is not None and prediction_type == "epsilon" and schedule.zero_terminal_snr:
        raise ConfigurationError(
            "prediction_type is 'epsilon', but the schedule ends in alpha = 0: z_T is then the noise itself, and its "
            "prediction says nothing of z_0. Use a network that predicts v, the flow or z_0"
        )
    if schedule is not None and prediction_type == "v_prediction" and not schedule.variance_preserving:
        raise ConfigurationError(
            "prediction_type is 'v_prediction', but the schedule is not variance preserving: networks on a rectified "
            "flow predict epsilon - z_0, which is 'flow_prediction'"
        )
    return PARAMETRISATIONS[prediction_type]

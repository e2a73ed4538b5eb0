"""The schedule that a diffusers scheduler's configuration describes.

Three kinds are read, distinguished by their keys, since ``scheduler.config`` does not name its class:

- ``shift`` without betas, or ``use_flow_sigmas``: rectified flow (``FlowMatch...Scheduler``);
- ``sigma_data``, ``sigma_min`` and ``sigma_max``: the cosine schedule of ``CosineDPMSolverMultistepScheduler``;
- ``beta_schedule`` or ``trained_betas``: a variance-preserving table (DDPM, DDIM, Heun, DPM-Solver, ...), with
  ``rescale_betas_zero_snr`` one that ends in alpha = 0.

What only chooses the times of sampling (``timestep_spacing``, ``use_karras_sigmas``, ...) is not read: a
:class:`~consistency_tta.contracts.TimeGrid` chooses them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import DDPMScheduler

from consistency_tta.diffusion.schedules.base import NoiseSchedule
from consistency_tta.diffusion.schedules.cosine import CosineSchedule
from consistency_tta.diffusion.schedules.rectified_flow import RectifiedFlowSchedule
from consistency_tta.diffusion.schedules.variance_preserving import VariancePreservingSchedule
from consistency_tta.diffusion.schedules.zero_terminal_snr import ZeroTerminalSNRSchedule
from consistency_tta.runtime.errors import ConfigurationError


def schedule_from_config(config: Mapping[str, Any]) -> NoiseSchedule:
    """Read the noise schedule of a diffusers scheduler.

    Args:
        config: a scheduler's ``config``, or the content of ``scheduler/scheduler_config.json``.

    Raises:
        ConfigurationError: if it describes no schedule that is known here.
    """
    if _is_flow(config):
        return _rectified_flow(config)
    if "sigma_data" in config:
        return _cosine(config)
    if config.get("trained_betas") is not None or config.get("beta_schedule") is not None:
        return _table(config)
    # DDPMScheduler would fill in its own defaults, silently wrong for a scheduler of another kind.
    raise ConfigurationError(
        f"the configuration of {_name(config)} must have trained_betas or beta_schedule, shift (rectified flow), or "
        f"sigma_data (cosine), but has only {sorted(config)}: it describes no schedule that is known here"
    )


def prediction_type_from_config(config: Mapping[str, Any]) -> str:
    """What the network of a diffusers scheduler predicts, by the names of ``diffusion.parametrisation``.

    Flow-matching schedulers have no ``prediction_type``: their networks predict epsilon - z_0, ``flow_prediction``.

    Raises:
        ConfigurationError: if the configuration does not say.
    """
    if config.get("prediction_type") is not None:
        return config["prediction_type"]
    if _is_flow(config):
        return "flow_prediction"
    raise ConfigurationError(
        f"the configuration of {_name(config)} must have a prediction_type: add what the network was trained to predict"
    )


def _is_flow(config: Mapping[str, Any]) -> bool:
    has_betas = config.get("trained_betas") is not None or config.get("beta_schedule") is not None
    return bool(config.get("use_flow_sigmas")) or ("shift" in config and not has_betas)


def _rectified_flow(config: Mapping[str, Any]) -> RectifiedFlowSchedule:
    if config.get("use_dynamic_shifting"):
        raise ConfigurationError(
            "use_dynamic_shifting is true: the noise levels would depend on the length of each sound. Set it to false, "
            "and shift to that of the length you generate: exp(mu) for time_shift_type exponential, mu for linear"
        )
    for key in ("invert_sigmas", "shift_terminal"):
        if config.get(key):
            raise ConfigurationError(
                f"{key} is {config[key]!r}, but must be unset: only paths from z_0 at t = 0 to noise are known here"
            )
    shift = config["flow_shift"] if config.get("use_flow_sigmas") else config["shift"]
    return RectifiedFlowSchedule(config.get("num_train_timesteps", 1000), shift)


def _cosine(config: Mapping[str, Any]) -> CosineSchedule:
    name = _name(config)
    # EDM schedulers have the same keys, but give the network the noise level as log(sigma) / 4.
    if "euler_at_final" not in config or "algorithm_type" in config:
        raise ConfigurationError(
            f"{name} scales a network's input and output by the preconditioning of EDM, which is not known here: "
            "of the schedulers with sigma_data only CosineDPMSolverMultistepScheduler is"
        )
    if config["sigma_data"] != 1:
        raise ConfigurationError(f"sigma_data must be 1, as in Stable Audio Open, but is {config['sigma_data']!r}")
    if config.get("prediction_type", "v_prediction") != "v_prediction":
        # Its "epsilon" is v with the other sign, and it refuses "sample" itself.
        raise ConfigurationError(
            f"prediction_type must be v_prediction for {name}, as in Stable Audio Open, but is "
            f"{config['prediction_type']!r}"
        )
    return CosineSchedule.between_ratios(
        config.get("num_train_timesteps", 1000), config["sigma_min"], config["sigma_max"]
    )


def _table(config: Mapping[str, Any]) -> VariancePreservingSchedule | ZeroTerminalSNRSchedule:
    try:
        scheduler = DDPMScheduler.from_config({k: v for k, v in config.items() if k != "_class_name"})
    except NotImplementedError as error:
        raise ConfigurationError(
            f"unknown beta_schedule {config['beta_schedule']!r}: diffusers.DDPMScheduler knows linear, "
            "scaled_linear and squaredcos_cap_v2, among others; for any other give trained_betas"
        ) from error
    ends_in_noise = bool((scheduler.alphas_cumprod[-1:] == 0).any())  # one without steps is refused below
    return (ZeroTerminalSNRSchedule if ends_in_noise else VariancePreservingSchedule)(scheduler.alphas_cumprod)


def _name(config: Mapping[str, Any]) -> str:
    return config.get("_class_name", "the scheduler")

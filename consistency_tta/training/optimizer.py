"""One AdamW for all networks in training, with a parameter group and a schedule for each.

AdamW keeps its state per parameter and passes over those without a gradient. So a group whose gradients are dropped at
a step is an optimizer that did not step, and groups with settings of their own are optimizers of their own; Lightning's
automatic optimization (accumulation, precision, resuming, DDP) serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from diffusers.optimization import SchedulerType, get_scheduler
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from consistency_tta.contracts import Learner, Optimization
from consistency_tta.runtime.errors import ConfigurationError

#: Where torch has a kernel of AdamW for all parameters at once.
FUSED_DEVICES = ("cpu", "cuda", "xpu", "mps")


def build_optimizer(
    learners: Mapping[str, Learner], default: Optimization, steps: int | None, fused: bool = False
) -> dict[str, Any]:
    """Build what ``configure_optimizers`` returns.

    Args:
        learners: the networks in training, by name, which becomes the parameter group's.
        default: settings of those that bring none.
        steps: optimizer steps of the whole training, for schedules that end; None where it has no end.
        fused: whether AdamW updates all parameters in one kernel. Such an optimizer also skips a step on the device
            where its attribute ``found_inf`` is 1.

    Raises:
        ConfigurationError: if a parameter belongs to two networks, or a schedule needs an end and there is none.
    """
    groups: list[dict[str, Any]] = []
    schedules = []
    for name, learner in learners.items():
        settings = learner.optimization or default
        groups.append(
            {
                "name": name,
                "params": list(trainable_parameters(learner.module)),
                "lr": settings.learning_rate,
                "betas": settings.betas,
                "weight_decay": settings.weight_decay,
            }
        )
        schedules.append(_learning_rate_factor(settings, steps))
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    if len(ids) != len(set(ids)):
        raise ConfigurationError(f"expected networks without common parameters to be optimized, got {list(learners)}")
    # AdamW refuses a group without parameters, such as that of a discriminator whose weights are frozen.
    kept = [(group, schedule) for group, schedule in zip(groups, schedules, strict=True) if group["params"]]
    optimizer: Optimizer = AdamW([group for group, _ in kept], fused=fused)
    optimizer.register_load_state_dict_pre_hook(_keep_fused)
    scheduler = LambdaLR(optimizer, [schedule for _, schedule in kept])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def can_fuse(device: torch.device, precision: str) -> bool:
    """Whether AdamW can update all parameters in one kernel.

    With float16, a gradient scaler divides the gradients first. A fused optimizer would do that itself, after they were
    clipped.
    """
    return device.type in FUSED_DEVICES and not precision.startswith("16")


def _keep_fused(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Fuse as this run does; the checkpoint's run may have done otherwise."""
    fused = optimizer.defaults["fused"]
    return state | {"param_groups": [group | {"fused": fused} for group in state["param_groups"]]}


def trainable_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a module that require gradients."""
    return (parameter for parameter in module.parameters() if parameter.requires_grad)


def is_learnable(module: nn.Module) -> bool:
    """Whether a module has parameters that require gradients."""
    return next(trainable_parameters(module), None) is not None


def clip_each(optimizer: Optimizer, value: float, algorithm: str) -> None:
    """Clip the gradients of each parameter group by itself, as separate optimizers would.

    Args:
        optimizer: of the groups.
        value: largest norm of a group's gradients, or largest absolute entry.
        algorithm: ``norm`` or ``value``.
    """
    clip: Callable[..., Any] = nn.utils.clip_grad_norm_ if algorithm == "norm" else nn.utils.clip_grad_value_
    for group in optimizer.param_groups:
        clip(group["params"], value)


def _learning_rate_factor(settings: Optimization, steps: int | None) -> Callable[[int], float]:
    """The factor of the learning rate at an optimizer step: diffusers' own, which needs some optimizer."""
    scheduler = get_scheduler(
        SchedulerType(settings.schedule),
        SGD([torch.zeros(1)]),
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=steps,
    )
    return scheduler.lr_lambdas[0]

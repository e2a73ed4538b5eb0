"""One AdamW for all networks in training, with a parameter group and a schedule for each.

AdamW keeps its state per parameter and passes over those without a gradient. So a group whose gradients are dropped at
a step is an optimizer that did not step, and groups with settings of their own are optimizers of their own; Lightning's
automatic optimization (accumulation, precision, resuming, DDP) serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import SchedulerType, get_scheduler
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from consistency_tta.contracts import Learner, Optimization
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError
from consistency_tta.training.shards import local, total_norm

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
    for group, _ in kept:
        sharded = {isinstance(parameter, DTensor) for parameter in group["params"]}
        if True in sharded:
            # Operations on lists take one kind of tensor alone; the fused one takes no sharded gradients with a flag
            # that is not sharded.
            group |= {"fused": False, "foreach": False not in sharded}
            fused = False
    optimizer: Optimizer = AdamW([group for group, _ in kept], fused=fused)
    optimizer.register_load_state_dict_pre_hook(_keep_settings)
    scheduler = ConfiguredRates(optimizer, [schedule for _, schedule in kept])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def can_fuse(device: torch.device, precision: str) -> bool:
    """Whether AdamW can update all parameters in one kernel.

    With float16, a gradient scaler divides the gradients first. A fused optimizer would do that itself, after they were
    clipped.
    """
    return device.type in FUSED_DEVICES and not precision.startswith("16")


class ConfiguredRates(LambdaLR):
    """A schedule that a checkpoint sets to its step; the learning rates stay those of this run's configuration."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take all but the rates."""
        super().load_state_dict(state_dict | {"base_lrs": self.base_lrs})
        rates = zip(self.base_lrs, self.lr_lambdas, strict=True)
        self._last_lr = [rate * factor(self.last_epoch) for rate, factor in rates]
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def _keep_settings(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Keep what is configured of each group; the checkpoint's run may have had other settings, or kernels.

    Raises:
        CheckpointError: if a value of AdamW's is in a format that it would be rounded from without a word.
    """
    for values in state["state"].values():
        for name, value in values.items():
            if torch.is_tensor(value) and not (value.is_floating_point() and value.layout is torch.strided):
                raise CheckpointError(f"expected the optimizer's {name} in floating point, got {value.dtype}")
    own, saved = optimizer.param_groups, state["param_groups"]
    if len(own) != len(saved):
        return state  # which torch refuses
    pairs = zip(own, saved, strict=True)
    return state | {"param_groups": [now | {"params": group["params"]} for now, group in pairs]}


def trainable_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a module that require gradients."""
    return (parameter for parameter in module.parameters() if parameter.requires_grad)


def is_learnable(module: nn.Module) -> bool:
    """Whether a module has parameters that require gradients."""
    return next(trainable_parameters(module), None) is not None


def clip_each(optimizer: Optimizer, value: float, algorithm: str) -> None:
    """Clip the gradients of each parameter group by itself, as separate optimizers would; sharded ones as whole ones.

    Args:
        optimizer: of the groups.
        value: largest norm of a group's gradients, or largest absolute entry.
        algorithm: ``norm`` or ``value``.
    """
    for group in optimizer.param_groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        parts = [local(gradient) for gradient in gradients]
        if not gradients:
            continue
        if algorithm == "norm":
            torch._foreach_mul_(parts, (value / (total_norm(gradients) + 1e-6)).clamp(max=1.0))
        else:
            torch._foreach_clamp_min_(parts, -value)
            torch._foreach_clamp_max_(parts, value)


def _learning_rate_factor(settings: Optimization, steps: int | None) -> Callable[[int], float]:
    """The factor of the learning rate at an optimizer step."""
    final = settings.final_phase
    if final is None:
        return _schedule(settings.schedule, settings.warmup_steps, steps)
    first = _schedule(settings.schedule, settings.warmup_steps, final.begin)
    last = _schedule(settings.schedule, final.warmup_steps, None if steps is None else max(steps - final.begin, 1))
    share = final.learning_rate / settings.learning_rate
    return lambda step: first(step) if step < final.begin else share * last(step - final.begin)


def _schedule(name: str, warmup_steps: int, steps: int | None) -> Callable[[int], float]:
    """One of diffusers' own, which needs some optimizer."""
    scheduler = get_scheduler(
        SchedulerType(name), SGD([torch.zeros(1)]), num_warmup_steps=warmup_steps, num_training_steps=steps
    )
    return scheduler.lr_lambdas[0]


def check_loaded_state(optimizer: Optimizer, checkpoint: str | Path) -> None:
    """Raise if an optimizer's state is not finite, or Adam's not as its parameters: fused, it would write beyond them.

    Args:
        optimizer: after loading.
        checkpoint: from which the state is.

    Raises:
        CheckpointError: names the checkpoint and the parameter group.
    """
    optimizer = getattr(optimizer, "_optimizer", optimizer)  # Lightning's wrapper keeps the state from before loading
    adam = isinstance(optimizer, Adam)  # or AdamW
    tensors = {name for state in optimizer.state.values() for name, value in state.items() if torch.is_tensor(value)}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter) or {}
            # Other optimizers may keep other values for each parameter, of other shapes, such as Adafactor's of rows.
            for name in tensors if state and adam else tensors & state.keys():
                value = state.get(name)
                if not torch.is_tensor(value):
                    if not adam:
                        continue
                    found, expected = f"is {value!s:.20}", "a tensor"
                elif adam and value.ndim and value.shape != parameter.shape:
                    found, expected = f"has shape {tuple(value.shape)}", f"{tuple(parameter.shape)}"
                elif not local(value).isfinite().all():  # no gradient would show it, and the weights would be NaN
                    found, expected = "has NaN or infinity", "finite values"
                else:
                    continue
                raise CheckpointError(
                    f"{checkpoint} is damaged, or of another configuration: the optimizer's {name} of "
                    f"{group.get('name', 'a group')} {found}, expected {expected}"
                )

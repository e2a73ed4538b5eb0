"""The trainer's precisions: which of them train, and why the others do not."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn

from consistency_tta.runtime.errors import ConfigurationError

#: Why weights are not trained in these.
REFUSED = {
    "bf16-true": "weights in bfloat16 lose every change below 1/256 of themselves, so averages with a decay of 0.999 "
    "stand still",
    "16-true": "weights in float16 become NaN: Adam's epsilon of 1e-8 is 0, and gradients are not scaled",
    "64-true": "filters, latents and the outputs of networks are float32, so nothing gets more exact",
}


def check_precision(trainer: Trainer) -> None:
    """Raise if a training, or its validation, cannot compute in the trainer's precision; ``predict`` takes any.

    Raises:
        ConfigurationError: names the precision, the reason, and what to set instead.
    """
    precision = str(trainer.precision)
    if precision in REFUSED and trainer.state.fn != TrainerFn.PREDICTING:
        raise ConfigurationError(
            f"expected a precision of 32-true, bf16-mixed or 16-mixed, got {precision}, in which {REFUSED[precision]}: "
            "set --trainer.precision bf16-mixed, which keeps the weights in float32 and computes in bfloat16"
        )

"""Less memory for the networks in training: their activations are computed again on the way back."""

from __future__ import annotations

from diffusers import ModelMixin
from lightning.pytorch import Callback, LightningModule, Trainer

from consistency_tta.runtime.errors import ConfigurationError


class GradientCheckpointing(Callback):
    """Computes the activations of the networks in training again in the backward pass instead of keeping them.

    Block by block, at the cost of about one more forward pass; the results are the same. It concerns U-Nets and
    transformers, of all trainings. The decoders of losses of sound have an option of their own,
    ``model.decoding.gradient_checkpointing``.

        consistency-tta fit --config ... --trainer.callbacks+=consistency_tta.training.GradientCheckpointing

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, https://arxiv.org/abs/1604.06174
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch it on.

        Raises:
            ConfigurationError: if no network in training can do it.
        """
        networks = {
            module
            for module in pl_module.modules()
            if isinstance(module, ModelMixin)
            and module._supports_gradient_checkpointing
            and any(parameter.requires_grad for parameter in module.parameters())
        }
        if not networks:
            raise ConfigurationError(
                "expected a network in training that supports gradient checkpointing, such as a U-Net, got none: leave "
                "GradientCheckpointing out"
            )
        for network in networks:
            network.enable_gradient_checkpointing()

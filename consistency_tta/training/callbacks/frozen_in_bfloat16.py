"""Less memory for the frozen networks beside the teacher: half the bytes of their weights."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.frozen_networks import KINDS
from consistency_tta.training.latents import LatentTraining


class FrozenInBfloat16(Callback):
    """Keeps the weights of text encoder and codec in bfloat16 while a U-Net or transformer is trained in bf16-mixed.

    It concerns linear and convolutional layers, which in bf16-mixed compute with weights in bfloat16 anyway: they are
    rounded once instead of at each query, and a training is bit for bit what it is without. The original weights stay
    in the CPU's memory; previews, metrics and the exported model have these. On a CPU a training takes more memory with
    it, not less. Vocoders that compute spectrograms (``FourierVocoder``), which are small, and layers with weight norm,
    as ``AutoencoderOobleck`` has them, stay in float32.

        consistency-tta fit --config ... --trainer.callbacks+=consistency_tta.training.FrozenInBfloat16

    Args:
        text_encoder: whether it is kept so.
        codec: whether autoencoder and vocoder are.

    Raises:
        ConfigurationError: if neither is chosen.
    """

    def __init__(self, text_encoder: bool = True, codec: bool = True) -> None:
        chosen = {"text_encoder": text_encoder, "codec": codec}
        self.kinds = frozenset(kind for kind in KINDS if chosen[kind])
        if not self.kinds:
            raise ConfigurationError(
                "expected text_encoder or codec to keep in bfloat16, got neither: leave FrozenInBfloat16 out"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the networks; the training rounds them before it shards networks.

        Raises:
            ConfigurationError: if the training does not compute in bf16-mixed, or not on latents.
        """
        if stage == "predict":
            return
        if not isinstance(pl_module, LatentTraining):
            raise ConfigurationError(
                "FrozenInBfloat16 is for trainings of U-Nets and transformers on latents, got "
                f"{type(pl_module).__name__}: leave it out"
            )
        if str(trainer.precision) != "bf16-mixed":
            raise ConfigurationError(
                f"expected bf16-mixed with FrozenInBfloat16, got {trainer.precision}, in which networks compute with "
                "their own weights: set --trainer.precision bf16-mixed, or leave it out"
            )
        pl_module.kinds_in_bfloat16 = self.kinds

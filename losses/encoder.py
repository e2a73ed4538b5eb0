"""Base of the losses that compare sounds by an encoder."""

from __future__ import annotations

from consistency_tta.contracts import AudioEncoder, Loss
from consistency_tta.runtime.frozen import Frozen


class EncoderLoss(Loss):
    """A loss of sound with a frozen encoder.

    The encoder follows the loss to its device; ``parameters()`` and ``state_dict()`` do not have it. They do have the
    parameters that a subclass registers, which are trained.

    Args:
        encoder: such as :class:`consistency_tta.components.clap.TransformersClap`.
    """

    noise_weighted = False

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.frozen = Frozen(encoder=encoder)

    @property
    def encoder(self) -> AudioEncoder:
        """The encoder; trainings note it among the rewards of the model."""
        return self.frozen.encoder

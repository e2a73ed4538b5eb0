"""Loss plugins, imported as ``consistency_tta.losses``."""

from consistency_tta.losses.adversarial import AdversarialLoss
from consistency_tta.losses.clap import CLAPLoss
from consistency_tta.losses.consistency import LatentHuberLoss, LatentL2Loss, LatentPseudoHuberLoss
from consistency_tta.losses.mel import MelL1Loss, MelL2Loss
from consistency_tta.losses.modulation import MelModulationLoss
from consistency_tta.losses.perceptual import PerceptualLoss
from consistency_tta.losses.phase import PhaseDerivativeLoss
from consistency_tta.losses.stft import MultiResolutionSTFTLoss

__all__ = [
    "AdversarialLoss",
    "CLAPLoss",
    "LatentHuberLoss",
    "LatentL2Loss",
    "LatentPseudoHuberLoss",
    "MelL1Loss",
    "MelL2Loss",
    "MelModulationLoss",
    "MultiResolutionSTFTLoss",
    "PerceptualLoss",
    "PhaseDerivativeLoss",
]

"""Backbones: one adapter a file, from a network's class to a :class:`~consistency_tta.contracts.Denoiser`."""

from consistency_tta.components.backbones.base import Backbone, build_backbone, new_backbone
from consistency_tta.components.backbones.flux import FluxBackbone
from consistency_tta.components.backbones.stable_audio import StableAudioBackbone
from consistency_tta.components.backbones.unet import UNetBackbone

__all__ = ["Backbone", "FluxBackbone", "StableAudioBackbone", "UNetBackbone", "build_backbone", "new_backbone"]

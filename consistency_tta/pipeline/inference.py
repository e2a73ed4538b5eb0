"""A model made ready for generation: number format, memory layout and folded weights."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm
from transformers import SpeechT5HifiGan

from consistency_tta.components.blocked_attention import attend_in_blocks, faster_in_blocks
from consistency_tta.components.folded_upsampling import fold_upsampling
from consistency_tta.components.inverse_stft import InverseSTFT
from consistency_tta.components.packed_hifigan import pack_hifigan
from consistency_tta.components.packed_layers import pack_layers
from consistency_tta.components.text_cache import TextCache
from consistency_tta.components.turned_unet import turn_pictures
from consistency_tta.pipeline.networks import InferenceNetworks
from consistency_tta.pipeline.text_to_audio import TextToAudioPipeline
from consistency_tta.runtime.allocator import keep_freed_memory
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.precision import inference_dtype


def load_for_generation(
    model: str, dtype: str = "auto", device: str | torch.device | None = None
) -> TextToAudioPipeline:
    """Load a model for generating many sounds as fast as it can.

    Args:
        model: model folder, bundled name or hub id.
        dtype: number format of the networks, see :func:`generation_dtype`.
        device: such as cuda or cpu; the best available if None.
    """
    place = best_device(device) if device is None or isinstance(device, str) else device
    wanted = inference_dtype(dtype, place)
    pipeline = TextToAudioPipeline.from_pretrained(model, dtype=wanted)
    if generation_dtype(pipeline, dtype, place) != wanted:
        pipeline = TextToAudioPipeline.from_pretrained(model)
    return pipeline.to(place)


def generation_dtype(pipeline: TextToAudioPipeline, name: str, device: torch.device) -> torch.dtype:
    """The number format for a model: that of :func:`~consistency_tta.runtime.precision.inference_dtype`.

    But ``auto`` is float32 for backbones of other packages: they need not cast what they read to their own format.
    """
    network = pipeline.components.get("unet") or pipeline.components.get("transformer")
    foreign = network is not None and not type(pipeline.denoiser).__module__.startswith("consistency_tta.")
    return torch.float32 if foreign and name == "auto" else inference_dtype(name, device)


def prepare_for_generation(pipeline: TextToAudioPipeline) -> TextToAudioPipeline:
    """Change a pipeline in place so that it generates faster, what it did before up to rounding.

    Weight norm is folded into weights, upsampling into the convolutions after it; convolutions of pictures work
    channels last; inverse Fourier transforms are fast ones; text embeddings are kept; the C library keeps the memory
    that layers free. On a CPU weights are packed, a U-Net has time along the rows, and long attention in bfloat16 is
    computed in blocks. The pipeline must not be saved, trained, exported or moved to another device afterwards.

    Returns:
        The pipeline; as it is if it was prepared before.
    """
    if pipeline.prepared is not None:
        return pipeline
    keep_freed_memory()
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
            fold_weight_norm(part)
            fold_upsampling(part)
            for module in part.modules():
                if isinstance(module, InverseSTFT):
                    module.use_fft = True
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks it
            if name != "text_encoder" and pipeline.device.type == "cpu":
                _prepare_for_cpu(part)
    pipeline.prepared = InferenceNetworks(TextCache(pipeline.text), pipeline.denoiser, pipeline.codec)
    return pipeline


def _prepare_for_cpu(network: nn.Module) -> None:
    """What is faster on a CPU alone; text encoders read few tokens, once a caption, and are left as they are."""
    if faster_in_blocks():
        attend_in_blocks(network)
    if isinstance(network, UNet2DConditionModel):
        turn_pictures(network)
    if isinstance(network, SpeechT5HifiGan):
        pack_hifigan(network)
    pack_layers(network)


def fold_weight_norm(network: nn.Module) -> None:
    """Replace weights that are recomputed from direction and norm at each call, of the older kind or the newer."""
    for module in network.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]  # a ModuleDict
                parametrize.remove_parametrizations(module, name)

"""Generation by part: text encoder, denoiser, decoder, vocoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.packed_layers import PackedConv2d, PackedLinear
from consistency_tta.pipeline import TextToAudioPipeline

#: Queries whose time, less that of one, gives the time of a further one.
SEVERAL = 3


class GenerationParts:
    """The parts of one generation as tasks, each with what the one before it made as its input.

    Args:
        pipeline: prepared for generation.
        caption: of the sound.
        batch_size: sounds of the task ``batch``.
    """

    def __init__(self, pipeline: TextToAudioPipeline, caption: str, batch_size: int) -> None:
        assert pipeline.prepared is not None
        self.pipeline, self.caption, self.batch_size = pipeline, caption, batch_size
        self.denoiser, self.codec = pipeline.prepared.denoiser, pipeline.prepared.codec
        self.encode_text = pipeline.text
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.randn(1, *self.denoiser.latent_shape, generator=generator).to(pipeline.device)
        self.mel: Tensor | None = None

    def tasks(self) -> dict[str, Callable[[], Any]]:
        """By name; ``sound`` and ``batch`` are whole generations, ``queries`` makes a latent by several queries."""
        latent = self.denoise()
        parts: dict[str, Callable[[], Any]] = {
            "text": lambda: self.encode_text([self.caption]),
            "denoise": self.denoise,
            "decoder": lambda: self.codec.decode(latent),
        }
        if isinstance(self.codec, MelCodec):
            mel, codec = self.codec.latent_to_mel(latent), self.codec
            parts |= {"decoder": lambda: codec.latent_to_mel(latent), "vocoder": lambda: codec.mel_to_waveform(mel)}
        parts |= {
            "queries": lambda: self.denoise(SEVERAL),
            "sound": lambda: self.sound(1),
            "batch": lambda: self.sound(self.batch_size),
        }
        return {name: torch.inference_mode()(task) for name, task in parts.items()}

    @torch.inference_mode()
    def denoise(self, steps: int = 1) -> Tensor:
        """A latent by so many steps of the sampler; the text's embedding is kept from the first call on."""
        return self.pipeline.sample(self.caption, num_inference_steps=steps, latents=self.noise)[0]

    def sound(self, batch_size: int) -> Tensor:
        """Waveforms of a batch, in one step."""
        noise = self.noise.expand(batch_size, *self.noise.shape[1:])
        return self.pipeline([self.caption] * batch_size, num_inference_steps=1, latents=noise).waveform

    def weight_bytes(self) -> int:
        """Memory of the weights."""
        modules = [part for part in self.pipeline.components.values() if isinstance(part, nn.Module)]
        layers = chain.from_iterable(module.modules() for module in modules)
        packed = (layer.weight for layer in layers if isinstance(layer, PackedLinear | PackedConv2d))
        return sum(
            weight.numel() * weight.element_size()
            for weight in chain(packed, *(module.parameters() for module in modules))
        )


def operations(task: Callable[[], Any]) -> int:
    """Floating-point operations of a task's matrix products, convolutions and attention."""
    packed = torch.ops.mkldnn
    names = ("_linear_pointwise", "_convolution_pointwise")
    formulas: Any = {getattr(packed, name): _packed_operations for name in names if hasattr(packed, name)}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        task()
    return counter.get_total_flops()


def _packed_operations(inputs: Sequence[int], *others: Any, out_shape: Sequence[int], **_: Any) -> int:
    """Of a packed layer, by the shapes of its arguments: the weight, after pictures that are added, and its bias."""
    added = others[1] is not None and len(others[1]) > 1
    weight = others[1] if added else others[0]
    return 2 * prod(out_shape) * prod(weight[1:])

"""Checkpoints as others publish them, at any width: names, shapes, and what the modules compute.

Names and shapes are written down from the official module definitions (in Bai-YT/ConsistencyTTA,
``audioldm/variational_autoencoder/modules.py`` and ``audioldm/hifigan/models.py``, which are AudioLDM's, and
``unet_2d_condition_guided.py``; T5 in transformers), not from the converters. Digests and parameter counts in the tests
were taken from those definitions themselves, instantiated at full size with the official configurations, at commit
8ea43b6.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Shapes = dict[str, tuple[int, ...]]


def digest(shapes: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 of the sorted lines "name (shape)"."""
    lines = sorted(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def shapes_of(module: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def count(shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def filled(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Weights that depend on the name and the shape alone, as large as a new layer's."""
    weights = {}
    for name, shape in shapes.items():
        wave = torch.arange(math.prod(shape), dtype=torch.float64) * 0.7391 + zlib.crc32(name.encode()) % 1000
        wave = wave.sin().reshape(*shape)
        if len(shape) == 1:
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weights[name] = (centre + 0.1 * wave).float()
        else:
            weights[name] = (wave * math.sqrt(1.5 * shape[0] / math.prod(shape))).float()
    return weights


# --- AudioLDM's autoencoder ---------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, inside, 1e-6), nn.Conv2d(inside, outside, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, outside, 1e-6), nn.Conv2d(outside, outside, 3, padding=1)
        if inside != outside:
            self.nin_shortcut = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    """Single-headed, with 1x1 convolutions where diffusers has linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        query, key, value = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))
        scores = torch.einsum("bci,bcj->bij", query, key) / math.sqrt(query.shape[1])
        attended = torch.einsum("bij,bcj->bci", scores.softmax(-1), value)
        return x + self.proj_out(attended.reshape_as(x))


def holder(**children: nn.Module) -> nn.Module:
    """A module that only gives its children names."""
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def middle(channels: int) -> nn.Module:
    first, second = Residual(channels, channels), Residual(channels, channels)
    return holder(block_1=first, attn_1=Attention(channels), block_2=second)


class Encoder(nn.Module):
    def __init__(self, channels: Sequence[int], latent: int, blocks: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(1, channels[0], 3, padding=1)
        levels, inside = [], channels[0]
        for level, width in enumerate(channels):
            inner = nn.ModuleList(Residual(inside if block == 0 else width, width) for block in range(blocks))
            parts: dict[str, nn.Module] = {"block": inner}
            if level < len(channels) - 1:
                parts["downsample"] = holder(conv=nn.Conv2d(width, width, 3, stride=2))
            levels.append(holder(**parts))
            inside = width
        self.down = nn.ModuleList(levels)
        self.mid = middle(inside)
        self.norm_out, self.conv_out = nn.GroupNorm(32, inside, 1e-6), nn.Conv2d(inside, 2 * latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            for block in level.block:
                h = block(h)
            if hasattr(level, "downsample"):
                h = level.downsample.conv(F.pad(h, (0, 1, 0, 1)))
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h)))
        return self.conv_out(F.silu(self.norm_out(h)))


class Decoder(nn.Module):
    def __init__(self, channels: Sequence[int], latent: int, blocks: int) -> None:
        super().__init__()
        inside = channels[-1]
        self.conv_in = nn.Conv2d(latent, inside, 3, padding=1)
        self.mid = middle(inside)
        levels: list[nn.Module] = []
        for level in reversed(range(len(channels))):
            width = channels[level]
            inner = nn.ModuleList(Residual(inside if block == 0 else width, width) for block in range(blocks + 1))
            parts: dict[str, nn.Module] = {"block": inner}
            if level > 0:
                parts["upsample"] = holder(conv=nn.Conv2d(width, width, 3, padding=1))
            levels.insert(0, holder(**parts))
            inside = width
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = nn.GroupNorm(32, inside, 1e-6), nn.Conv2d(inside, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv_in(z)
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h)))
        for level in reversed(list(self.up)):
            for block in level.block:
                h = block(h)
            if hasattr(level, "upsample"):
                h = level.upsample.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    """(B, 1, frames, bins) -> moments, and latents -> mel; with the vocoder inside, as in the published files."""

    def __init__(
        self,
        channels: Sequence[int] = (128, 256, 512),
        latent: int = 8,
        blocks: int = 2,
        vocoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels, latent, blocks), Decoder(channels, latent, blocks)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        if vocoder is not None:
            self.vocoder = vocoder

    def encode(self, mel: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(mel))

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latent))


# --- HiFi-GAN -----------------------------------------------------------------------------------------------------


class Branch(nn.Module):
    def __init__(self, channels: int, kernel: int, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        dilated, plain = [], []
        for dilation in (1, 3, 5):
            padding = dilation * (kernel - 1) // 2
            dilated.append(norm(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding)))
            plain.append(norm(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2)))
        self.convs1, self.convs2 = nn.ModuleList(dilated), nn.ModuleList(plain)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, 0.1)), 0.1))
        return x


class HifiGan(nn.Module):
    """Mel (B, bins, frames) -> (B, 1, samples)."""

    def __init__(
        self, n_mels: int = 64, channels: int = 1024, norm: Callable[[nn.Module], nn.Module] = lambda layer: layer
    ) -> None:
        super().__init__()
        self.conv_pre = norm(nn.Conv1d(n_mels, channels, 7, padding=3))
        ups, branches = [], []
        for rate, kernel in zip((5, 4, 2, 2, 2), (16, 16, 8, 4, 4), strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            ups.append(norm(up))
            channels //= 2
            branches += [Branch(channels, size, norm) for size in (3, 7, 11)]
        self.ups, self.resblocks = nn.ModuleList(ups), nn.ModuleList(branches)
        self.conv_post = norm(nn.Conv1d(channels, 1, 7, padding=3))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.conv_pre(mel)
        for index, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(branch(x) for branch in self.resblocks[3 * index : 3 * index + 3]) / 3
        return torch.tanh(self.conv_post(F.leaky_relu(x, 0.01)))


# --- U-Net --------------------------------------------------------------------------------------------------------


def linear(name: str, inside: int, outside: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outside, inside)} | ({f"{name}.bias": (outside,)} if bias else {})


def conv(name: str, inside: int, outside: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (outside, inside, kernel, kernel), f"{name}.bias": (outside,)}


def norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def resnet(name: str, inside: int, outside: int, time: int) -> Shapes:
    shapes = norm(f"{name}.norm1", inside) | conv(f"{name}.conv1", inside, outside, 3)
    shapes |= linear(f"{name}.time_emb_proj", time, outside)
    shapes |= norm(f"{name}.norm2", outside) | conv(f"{name}.conv2", outside, outside, 3)
    return shapes | (conv(f"{name}.conv_shortcut", inside, outside, 1) if inside != outside else {})


def transformer(name: str, channels: int, heads: int, text: int) -> Shapes:
    """One block; heads that do not divide the width make it narrower inside (256 channels, 5 heads: 255)."""
    width = heads * (channels // heads)
    shapes = norm(f"{name}.norm", channels) | linear(f"{name}.proj_in", channels, width)
    block = f"{name}.transformer_blocks.0"
    for attention, source in (("attn1", width), ("attn2", text)):
        shapes |= linear(f"{block}.{attention}.to_q", width, width, bias=False)
        shapes |= linear(f"{block}.{attention}.to_k", source, width, bias=False)
        shapes |= linear(f"{block}.{attention}.to_v", source, width, bias=False)
        shapes |= linear(f"{block}.{attention}.to_out.0", width, width)
    for index in (1, 2, 3):
        shapes |= norm(f"{block}.norm{index}", width)
    shapes |= linear(f"{block}.ff.net.0.proj", width, 8 * width) | linear(f"{block}.ff.net.2", 4 * width, width)
    return shapes | linear(f"{name}.proj_out", width, channels)


def unet(
    channels: Sequence[int] = (320, 640, 1280, 1280),
    heads: Sequence[int] = (5, 10, 20, 20),
    attention: Sequence[bool] = (True, True, True, False),
    layers: int = 2,
    latent: int = 8,
    text: int = 1024,
    guided: bool = False,
) -> Shapes:
    """``UNet2DConditionModel``, or ``UNet2DConditionGuidedModel`` with the branch that reads the guidance scale."""
    time, last = 4 * channels[0], len(channels) - 1
    shapes = conv("conv_in", latent, channels[0], 3)
    shapes |= linear("time_embedding.linear_1", channels[0], time) | linear("time_embedding.linear_2", time, time)
    if guided:
        shapes["guidance_proj.weight"] = (time // 2,)
        shapes |= linear("guidance_embedding.linear_1", time, time) | linear("guidance_embedding.linear_2", time, time)
    skips, inside = [channels[0]], channels[0]
    for level, width in enumerate(channels):
        block = f"down_blocks.{level}"
        for layer in range(layers):
            shapes |= resnet(f"{block}.resnets.{layer}", inside, width, time)
            if attention[level]:
                shapes |= transformer(f"{block}.attentions.{layer}", width, heads[level], text)
            inside = width
            skips.append(width)
        if level < last:
            shapes |= conv(f"{block}.downsamplers.0.conv", width, width, 3)
            skips.append(width)
    shapes |= resnet("mid_block.resnets.0", inside, inside, time) | resnet("mid_block.resnets.1", inside, inside, time)
    shapes |= transformer("mid_block.attentions.0", inside, heads[-1], text)
    for position, level in enumerate(reversed(range(len(channels)))):
        block, width = f"up_blocks.{position}", channels[level]
        for layer in range(layers + 1):
            shapes |= resnet(f"{block}.resnets.{layer}", inside + skips.pop(), width, time)
            if attention[level]:
                shapes |= transformer(f"{block}.attentions.{layer}", width, heads[level], text)
            inside = width
        if level > 0:
            shapes |= conv(f"{block}.upsamplers.0.conv", width, width, 3)
    return shapes | norm("conv_norm_out", inside) | conv("conv_out", inside, latent, 3)


# --- T5's encoder -------------------------------------------------------------------------------------------------


def t5(words: int, width: int, hidden: int, layers: int, heads: int, head_width: int) -> Shapes:
    shapes: Shapes = {"shared.weight": (words, width), "encoder.embed_tokens.weight": (words, width)}
    for index in range(layers):
        block = f"encoder.block.{index}.layer"
        for name in "qkv":
            shapes[f"{block}.0.SelfAttention.{name}.weight"] = (heads * head_width, width)
        shapes[f"{block}.0.SelfAttention.o.weight"] = (width, heads * head_width)
        if index == 0:
            shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
        shapes[f"{block}.0.layer_norm.weight"] = (width,)
        shapes[f"{block}.1.DenseReluDense.wi_0.weight"] = (hidden, width)
        shapes[f"{block}.1.DenseReluDense.wi_1.weight"] = (hidden, width)
        shapes[f"{block}.1.DenseReluDense.wo.weight"] = (width, hidden)
        shapes[f"{block}.1.layer_norm.weight"] = (width,)
    return shapes | {"encoder.final_layer_norm.weight": (width,)}


# --- whole checkpoints at reduced width ---------------------------------------------------------------------------

N_MELS = 16
SMALL_UNET: dict[str, Any] = {
    "channels": (32, 64),
    "heads": (5, 10),
    "attention": (True, False),
    "layers": 1,
    "latent": 4,
    "text": 16,
}
SMALL_T5 = {"words": 384, "width": 16, "hidden": 32, "layers": 1, "heads": 2, "head_width": 8}


def small_autoencoder(norm: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> Autoencoder:
    """Three levels of at least 32 channels, which the normalisations need, and a narrow vocoder."""
    module = Autoencoder((32, 64, 64), latent=4, blocks=1, vocoder=HifiGan(N_MELS, 32, norm))
    module.load_state_dict(filled(shapes_of(module)))
    return module.eval()


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}

"""New, untrained networks for the configuration files; the defaults are AudioLDM's and TANGO's full-size ones.

diffusers annotates its networks' arguments so (``tuple[str]`` for any number of blocks) that no parser can check
them; these functions can be checked, and need a third of the lines.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig


def autoencoder(
    channels: list[int] = [128, 256, 512],  # noqa: B006  # read only
    latent_channels: int = 8,
    layers_per_block: int = 2,
    norm_num_groups: int = 32,
    attention: bool = True,
) -> AutoencoderKL:
    """An autoencoder of one-channel pictures, which halves time and frequency after each level but the last.

    Args:
        channels: width of each level.
        latent_channels: C.
        layers_per_block: residual blocks a level.
        norm_num_groups: groups of the normalisations; each width must be a multiple.
        attention: whether there is self-attention at the lowest level.
    """
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=tuple(channels),
        layers_per_block=layers_per_block,
        latent_channels=latent_channels,
        norm_num_groups=norm_num_groups,
        mid_block_add_attention=attention,
    )
    # Start in the middle of the log-mel's range, [-11.5, 2]: the first hundreds of steps would only get there.
    nn.init.constant_(vae.decoder.conv_out.bias, -5.0)
    return vae


def unet(
    latent_size: tuple[int, int] = (256, 16),
    latent_channels: int = 8,
    text_width: int = 1024,
    channels: list[int] = [320, 640, 1280, 1280],  # noqa: B006  # read only
    attention: list[bool] = [True, True, True, False],  # noqa: B006  # read only
    heads: list[int] = [5, 10, 20, 20],  # noqa: B006  # read only
    layers_per_block: int = 2,
    norm_num_groups: int = 32,
) -> UNet2DConditionModel:
    """A text-conditional U-Net.

    Args:
        latent_size: (T, F) of the latents.
        latent_channels: C.
        text_width: of the text embeddings.
        channels: width of each level.
        attention: which levels attend to the text and to themselves.
        heads: attention heads of each level.
        layers_per_block: residual blocks a level.
        norm_num_groups: groups of the normalisations; each width must be a multiple.

    Raises:
        ValueError: if ``attention`` or ``heads`` has not one entry per level.
    """
    if not len(channels) == len(attention) == len(heads):
        raise ValueError(
            f"expected one entry of attention and heads for each of the {len(channels)} channels, "
            f"got {len(attention)} and {len(heads)}"
        )
    return UNet2DConditionModel(
        sample_size=tuple(latent_size),
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        block_out_channels=tuple(channels),
        cross_attention_dim=text_width,
        attention_head_dim=tuple(heads),  # diffusers keeps this name for the number of heads
        layers_per_block=layers_per_block,
        norm_num_groups=norm_num_groups,
        use_linear_projection=True,
        upcast_attention=True,
    )


def hifigan(
    n_mels: int = 64,
    sample_rate: int = 16000,
    channels: int = 1024,
    upsample_rates: list[int] = [5, 4, 2, 2, 2],  # noqa: B006  # read only
    upsample_kernel_sizes: list[int] = [16, 16, 8, 4, 4],  # noqa: B006  # read only
) -> SpeechT5HifiGan:
    """AudioLDM's HiFi-GAN vocoder.

    Args:
        n_mels: mel bins.
        sample_rate: in Hz.
        channels: width before the first upsampling.
        upsample_rates: their product is the hop length.
        upsample_kernel_sizes: of the transposed convolutions.
    """
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=n_mels,
            sampling_rate=sample_rate,
            upsample_initial_channel=channels,
            upsample_rates=upsample_rates,
            upsample_kernel_sizes=upsample_kernel_sizes,
            normalize_before=False,
        )
    )

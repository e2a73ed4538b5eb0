"""New, untrained networks for the configuration files; the defaults are AudioLDM's and TANGO's full-size ones.

diffusers annotates its networks' arguments so (``tuple[str]`` for any number of blocks) that no parser can check
them; these functions can be checked, and need a third of the lines.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, StableAudioDiTModel, UNet2DConditionModel
from torch import nn
from transformers import (
    ByT5Tokenizer,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from consistency_tta.components.clap_model import Clap
from consistency_tta.runtime.errors import ConfigurationError


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
        attention: whether the lowest level has self-attention.
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
        ConfigurationError: if ``attention`` or ``heads`` has not one entry per level.
    """
    if not len(channels) == len(attention) == len(heads):
        raise ConfigurationError(
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


def clap(
    sample_rate: int = 16000,
    max_seconds: int = 5,
    n_mels: int = 64,
    n_fft: int = 1024,
    hop_length: int = 320,
    f_min: float = 50.0,
    f_max: float = 8000.0,
    channels: int = 32,
    depths: list[int] = [2, 2, 2],  # noqa: B006  # read only
    heads: list[int] = [2, 4, 8],  # noqa: B006  # read only
    text_width: int = 128,
    text_layers: int = 3,
    text_heads: int = 4,
    max_length: int = 256,
    embedding_width: int = 128,
    dropout: float = 0.1,
) -> Clap:
    """A CLAP of 1.1 million parameters for a few hundred recordings: a Swin transformer, and a BERT over bytes.

    Unlike the other functions' defaults these are not the full-size model's, which nobody here would train.

    Args:
        sample_rate: in Hz.
        max_seconds: of sound that is embedded; longer clips are cut.
        n_mels: mel bins; the network sees a square of 2 n_mels, and so up to 4 n_mels frames.
        n_fft: window length in samples.
        hop_length: samples between frames.
        f_min: lowest frequency in Hz.
        f_max: highest frequency in Hz.
        channels: width of the first level; each level doubles it and halves the picture.
        depths: layers of each level.
        heads: attention heads of each level.
        text_width: of the text network.
        text_layers: of the text network.
        text_heads: of the text network.
        max_length: bytes after which captions are cut.
        embedding_width: D.
        dropout: in both networks, and of whole layers in the audio network.

    Raises:
        ConfigurationError: if the sound has more frames than the picture, or ``depths`` and ``heads`` differ in length.
    """
    frames = 1 + max_seconds * sample_rate // hop_length
    if frames > 4 * n_mels:
        raise ConfigurationError(
            f"expected at most 4 n_mels = {4 * n_mels} frames, got {frames} of {max_seconds} s at {sample_rate} Hz: "
            "set a longer hop_length or fewer max_seconds"
        )
    if len(depths) != len(heads):
        raise ConfigurationError(f"expected one entry of heads for each of the {len(depths)} depths, got {len(heads)}")
    # No sentinel tokens: 256 bytes and 3 special tokens.
    tokenizer = ByT5Tokenizer(extra_ids=0, model_max_length=max_length)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": text_width,
        "intermediate_size": 2 * text_width,
        "num_hidden_layers": text_layers,
        "num_attention_heads": text_heads,
        "max_position_embeddings": max_length + tokenizer.pad_token_id + 1,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    audio = {
        "num_mel_bins": n_mels,
        "spec_size": 2 * n_mels,
        "patch_embeds_hidden_size": channels,
        "hidden_size": channels * 2 ** (len(depths) - 1),
        "depths": depths,
        "num_attention_heads": heads,
        "hidden_dropout_prob": dropout,
        "drop_path_rate": dropout,
    }
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=embedding_width))
    extractor = ClapFeatureExtractor(
        feature_size=n_mels,
        sampling_rate=sample_rate,
        hop_length=hop_length,
        max_length_s=max_seconds,
        fft_window_size=n_fft,
        frequency_min=f_min,
        frequency_max=f_max,
        truncation="rand_trunc",
        padding="repeatpad",
    )
    return Clap(model, tokenizer, extractor)


def stable_audio_transformer(
    latent_frames: int = 1024,
    latent_channels: int = 64,
    text_width: int = 768,
    num_layers: int = 24,
    heads: int = 24,
    key_value_heads: int = 12,
    head_width: int = 64,
) -> StableAudioDiTModel:
    """Stable Audio's diffusion transformer over latents (B, C, T) of waveforms; the defaults are Stable Audio Open's.

    Args:
        latent_frames: T.
        latent_channels: C.
        text_width: of the text states that the transformer attends to.
        num_layers: transformer blocks.
        heads: attention heads.
        key_value_heads: heads of keys and values; ``heads`` must be a multiple.
        head_width: width of a head.
    """
    return StableAudioDiTModel(
        sample_size=latent_frames,
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_layers=num_layers,
        attention_head_dim=head_width,
        num_attention_heads=heads,
        num_key_value_attention_heads=key_value_heads,
        cross_attention_dim=key_value_heads * head_width,
        cross_attention_input_dim=text_width,
        global_states_input_dim=2 * text_width,
    )

"""The smallest networks of each kind."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderOobleck,
    FlowMatchEulerDiscreteScheduler,
    StableAudioDiTModel,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel

from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.text import ByteTextEncoder
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler

#: 32 mel frames, 8 x 4 latents.
NUM_SAMPLES = 32 * 160
VAE = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (4, 8, 8),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "mid_block_add_attention": False,
}
UNET = {
    "sample_size": (8, 4),
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}
#: Reads the text on the way up, too, as published ones do; nearly twice the modules, and the time to load and train.
UNET_OF_ALL_BLOCKS = UNET | {
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
MEL = {"n_mels": 16}
VOCODER = {"model_in_dim": 16, "channels": 16, "num_layers": 1}
#: Of the latents of VAE and MEL.
LIGHT_DECODER = {
    "latent_channels": 4,
    "latent_bins": 4,
    "latent_width": 16,
    "latent_layers": 1,
    "channels": 16,
    "num_layers": 1,
}
#: A stereo autoencoder of waveforms at 44.1 kHz, which makes one latent frame of 64 samples.
OOBLECK = {
    "encoder_hidden_size": 8,
    "downsampling_ratios": [2, 4, 8],
    "channel_multiples": [1, 1, 2],
    "decoder_channels": 8,
    "decoder_input_channels": 4,
    "audio_channels": 2,
    "sampling_rate": 44100,
}
#: 16 latent frames of the stereo toy.
STEREO_SAMPLES = 16 * 64
DIT = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "num_key_value_attention_heads": 2,
    "cross_attention_dim": 16,
    "cross_attention_input_dim": 16,
    "global_states_input_dim": 32,
    "time_proj_dim": 16,
}
TEXT = {"width": 16, "num_layers": 1, "num_heads": 2}


def toy_parts(unet: dict[str, Any] = UNET) -> dict[str, Any]:
    """Components of a :class:`TextToAudioPipeline`."""
    text = ByteTextEncoder(**TEXT)
    return {
        "mel": MelSpectrogram(**MEL),
        "vae": AutoencoderKL(**VAE),
        "vocoder": FourierVocoder(**VOCODER),
        "text_encoder": text.encoder,
        "tokenizer": text.tokenizer,
        "unet": UNet2DConditionModel(**unet),
        "scheduler": stable_diffusion_scheduler(),
    }


def stereo_parts() -> dict[str, Any]:
    """Components of a flow-matching transformer over stereo latents at 44.1 kHz."""
    text = ByteTextEncoder(**TEXT)
    return {
        "vae": AutoencoderOobleck(**OOBLECK),
        "text_encoder": text.encoder,
        "tokenizer": text.tokenizer,
        "transformer": StableAudioDiTModel(**DIT),
        "projection_model": StableAudioProjectionModel(TEXT["width"], 16, 0.0, 1.0),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }

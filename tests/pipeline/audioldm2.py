"""Diffusers' own AudioLDM2Pipeline, of random weights."""

from __future__ import annotations

from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    DDIMScheduler,
)
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaTokenizerFast,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from tests.toys import VAE

TOKENS = ("<pad>", "<s>", "</s>", "<unk>")


def audioldm2() -> AudioLDM2Pipeline:
    """A pipeline that makes sounds at 16 kHz; a latent frame is 16 samples."""
    width = 16
    text = {"vocab_size": 4, "hidden_size": width, "intermediate_size": 16, "num_attention_heads": 2}
    text |= {"num_hidden_layers": 1, "projection_dim": width}
    sound = {"spec_size": 64, "window_size": 4, "num_mel_bins": 64, "depths": [1, 1], "num_attention_heads": [2, 2]}
    sound |= {"hidden_size": 32, "patch_embeds_hidden_size": 16, "patch_size": 2, "patch_stride": 2}
    language_model = GPT2LMHeadModel(GPT2Config(n_embd=width, n_head=2, n_layer=1, n_positions=99, vocab_size=4))
    language_model.config.max_new_tokens = 2
    unet = AudioLDM2UNet2DConditionModel(
        block_out_channels=(8, 16),
        sample_size=8,
        layers_per_block=1,
        norm_num_groups=4,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=((None, width, width),) * 2,
    )
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=8,
        sampling_rate=16000,
        upsample_initial_channel=16,
        upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        normalize_before=False,
    )
    pairs = Tokenizer(BPE({token: number for number, token in enumerate(TOKENS)}, [], unk_token="<unk>"))
    pieces = Tokenizer(Unigram([(token, 0.0) for token in TOKENS], unk_id=3))
    longest = {"pad_token": "<pad>", "model_max_length": 16}
    parts = {
        "vae": AutoencoderKL(**VAE),
        "text_encoder": ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=width)),
        "text_encoder_2": T5EncoderModel(
            T5Config(vocab_size=4, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        "projection_model": AudioLDM2ProjectionModel(width, width, width),
        "language_model": language_model,
        "unet": unet,
        "vocoder": SpeechT5HifiGan(vocoder),
    }
    return AudioLDM2Pipeline(
        **{name: part.eval() for name, part in parts.items()},
        tokenizer=RobertaTokenizerFast(tokenizer_object=pairs, **longest),
        tokenizer_2=T5TokenizerFast(tokenizer_object=pieces, **longest),
        feature_extractor=ClapFeatureExtractor(),
        scheduler=DDIMScheduler(),
    )

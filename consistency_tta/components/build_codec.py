"""The codec of an autoencoder, chosen by its class."""

from __future__ import annotations

from diffusers import AutoencoderKL, AutoencoderOobleck
from torch import nn

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.light_codec import LightCodec
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.waveform_codec import WaveformCodec
from consistency_tta.contracts import Codec
from consistency_tta.runtime.errors import ModelFolderError


def build_codec(vae: nn.Module, mel: MelSpectrogram | None = None, vocoder: nn.Module | None = None) -> Codec:
    """The codec of a model's parts.

    Args:
        vae: ``AutoencoderKL`` of mel spectrograms, ``AutoencoderOobleck`` of waveforms, or a codec of your own, which
            is returned as it is.
        mel: front end.
        vocoder: mel to waveform, or latent to waveform (:class:`FourierDecoder`).

    Raises:
        ModelFolderError: for another autoencoder, or one of mel spectrograms without a front end.
    """
    if isinstance(vae, Codec):
        return vae
    if isinstance(vae, AutoencoderOobleck):
        return WaveformCodec(vae, mel)
    if not isinstance(vae, AutoencoderKL):
        raise ModelFolderError(
            f"expected AutoencoderKL, AutoencoderOobleck or a Codec as vae, got {type(vae).__name__}: wrap it in a "
            "class that subclasses consistency_tta.contracts.Codec and diffusers.ModelMixin"
        )
    if mel is None:
        raise ModelFolderError("the model lacks mel, the front end of its autoencoder: add it to the folder")
    return LightCodec(mel, vae, vocoder) if isinstance(vocoder, FourierDecoder) else MelCodec(mel, vae, vocoder)

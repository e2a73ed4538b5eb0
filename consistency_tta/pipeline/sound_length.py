"""How many latent frames a sound of a given length needs."""

from __future__ import annotations

import logging
import math
from numbers import Real

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import Codec
from consistency_tta.runtime.errors import ConfigurationError

logger = logging.getLogger(__name__)

#: Sounds may be so many times as long as those that the network was made for: attention's memory grows with the square.
MOST_LENGTHS = 16


def latent_frames(seconds: float, backbone: Backbone, codec: Codec, given_frames: int | None = None) -> int:
    """Frames of the latents of a sound: those that the network was made for, or more for a longer one.

    Args:
        seconds: length of the sound; the waveform is cut there.
        backbone: of the network.
        codec: of the latents.
        given_frames: of starting noise that a caller gives.

    Raises:
        ConfigurationError: if the sound is longer than the noise, or than the network can make it.
    """
    own = backbone.latent_shape[1]
    frame_seconds = codec.samples_per_frame / codec.sample_rate
    longest = (given_frames or own * (1 if backbone.frame_multiple is None else MOST_LENGTHS)) * frame_seconds
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < seconds <= longest:
        raise ConfigurationError(
            f"expected audio_length_in_s above 0 and at most {longest:g}, "
            f"{'the length of the latents' if given_frames else 'the longest of this model'}, got {seconds!r}"
        )
    # A whole number of samples is one that rounding to float keeps.
    frames = math.ceil(round(seconds / frame_seconds, 6))
    if given_frames or frames <= own:
        return given_frames or own
    logger.warning(
        f"the network was made for sounds of {own * frame_seconds:g} s: one of {seconds:g} s may be worse, and takes "
        "more memory"
    )
    multiple = backbone.frame_multiple or 1
    return math.ceil(frames / multiple) * multiple

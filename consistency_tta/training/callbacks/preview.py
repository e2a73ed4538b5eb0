"""What a training shows of itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Preview:
    """A sound as it would be now.

    Attributes:
        name: caption or clip id.
        mel: (frames, bins).
        waveform: (samples,), where there is a vocoder.
    """

    name: str
    mel: Tensor
    waveform: Tensor | None = None

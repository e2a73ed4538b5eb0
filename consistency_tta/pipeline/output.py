"""Generated sound."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import soundfile
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from consistency_tta.reporting.data_uri import audio_uri
from consistency_tta.runtime.errors import ConfigurationError


@dataclass
class TextToAudioOutput(BaseOutput):
    """Generated sound; as all outputs of diffusers also a dictionary and a tuple, whose first item is ``audios``.

    Attributes:
        audios: (B, samples) of a mono model, (B, channels, samples) of any other; float32 on the CPU, in [-1, 1]. A
            numpy array for ``output_type="np"``, and the latents for ``"latent"``.
        sample_rate: in Hz.
        latent: (B, C, *).
        queries: how many times the network was evaluated on each sound (classifier-free guidance counts twice).
        seconds: time to the latents (text encoder and network), and from them in the decoders.
    """

    audios: Any
    sample_rate: int
    latent: Tensor
    queries: int
    seconds: dict[str, float]

    @property
    def waveform(self) -> Tensor:
        """``audios`` as a tensor, under its name of before.

        Raises:
            ConfigurationError: if ``output_type`` was "latent".
        """
        if self.audios is self.latent:
            raise ConfigurationError('expected sounds, got output_type="latent": leave it out, or decode the latents')
        return torch.as_tensor(self.audios)

    def save(self, path: str | Path) -> list[Path]:
        """Write the sounds as files.

        Args:
            path: of a sound file; its suffix gives the format (``.wav``, ``.flac``, ``.ogg``, ``.mp3``). Of several
                sounds the files are numbered, ``dog_0.wav``, ``dog_1.wav``.

        Returns:
            The files written.

        Raises:
            ConfigurationError: if the suffix is that of no sound file.
        """
        path, waveform = Path(path), self.waveform
        if path.suffix[1:].upper() not in soundfile.available_formats():
            raise ConfigurationError(f"expected the path of a sound file, such as sound.wav, got {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        several = len(waveform) > 1
        files = [path.with_stem(f"{path.stem}_{row}") if several else path for row in range(len(waveform))]
        for file, sound in zip(files, waveform, strict=True):
            soundfile.write(file, sound.movedim(-1, 0).numpy(), self.sample_rate)
        return files

    def _repr_html_(self) -> str:
        """Players, for notebooks."""
        if self.audios is self.latent:
            return f"<pre>{escape(repr(self))}</pre>"
        sounds = (sound.movedim(-1, 0) for sound in self.waveform)
        players = (f'<audio controls src="{audio_uri(sound, self.sample_rate)}"></audio>' for sound in sounds)
        length = self.waveform.shape[-1] / self.sample_rate
        queries = "1 query" if self.queries == 1 else f"{self.queries} queries"
        return f"<div>{'<br>'.join(players)}<br>{length:.2f} s, {self.sample_rate} Hz, {queries}</div>"

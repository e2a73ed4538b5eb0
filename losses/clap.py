"""Distance of a sound from its caption and from its recording, in the space of any audio encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.contracts import AudioEncoder, AudioOutput
from consistency_tta.losses.encoder import EncoderLoss
from consistency_tta.runtime.errors import ConfigurationError

#: How many captions' vectors are kept; where a datamodule mixes pairs of clips, there is no end of new captions.
MAX_CAPTIONS = 10_000


class CLAPLoss(EncoderLoss):
    """text_weight (1 - cos(sound, caption)) + audio_weight (1 - cos(sound, reference)).

    Source: Bai et al., "ConsistencyTTA", 2024, https://arxiv.org/abs/2309.10740, section 3.4, where both weights are 1;
    the published training adds a tenth of it to the latent loss.

    Args:
        encoder: such as :class:`consistency_tta.components.clap.TransformersClap`; any other, such as a tagger, with
            ``text_weight`` 0. Cosines are of its vectors, whatever their length.
        text_weight: of the distance to the caption, >= 0.
        audio_weight: of the distance to the reference, >= 0.
        reference: ``recording`` is the batch's waveform, or what ``encode`` wrote of it by this encoder; the target's
            sound where the data are latents without such embeddings. ``target`` is always the latter.

    Raises:
        ConfigurationError: an option is out of range, or ``text_weight`` is not 0 and the encoder has no text side.
    """

    def __init__(
        self,
        encoder: AudioEncoder,
        text_weight: float = 1.0,
        audio_weight: float = 1.0,
        reference: Literal["recording", "target"] = "recording",
    ) -> None:
        super().__init__(encoder)
        if min(text_weight, audio_weight) < 0 or text_weight == audio_weight == 0:
            raise ConfigurationError(f"expected weights >= 0, not both 0, got {text_weight} and {audio_weight}")
        if reference not in ("recording", "target"):
            raise ConfigurationError(f"expected reference 'recording' or 'target', got {reference!r}")
        if text_weight and not encoder.embeds_text:
            raise ConfigurationError(
                f"expected an encoder with a text side, got {type(encoder).__name__}: set text_weight to 0"
            )
        self.text_weight = text_weight
        self.audio_weight = audio_weight
        self.reference = reference
        self._texts: dict[str, Tensor] = {}

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,) in [0, 2 (text_weight + audio_weight)]."""
        student = self.embed_audio(out.student_waveform, out.sample_rate)
        loss = student.new_zeros(len(student))
        if self.text_weight:
            loss = loss + self.text_weight * (1 - (student * self.embed_text(out.batch.captions)).sum(1))
        if self.audio_weight:
            with torch.no_grad():
                reference = self.embed_reference(out)
            loss = loss + self.audio_weight * (1 - (student * reference).sum(1))
        return loss

    def embed_reference(self, out: AudioOutput) -> Tensor:
        """Vectors (B, D) of length 1 of what the student's sounds are compared with."""
        if self.reference == "recording":
            if (embedded := out.batch.audio_embeddings.get(self.encoder.checksum or "")) is not None:
                return F.normalize(embedded.float(), dim=1)
            if out.batch.waveform is not None:
                return self.embed_audio(out.reference_waveform, out.sample_rate)
        return self.embed_audio(out.target_waveform, out.sample_rate)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Waveform (B, samples) at any rate -> vectors (B, D) of length 1.

        An encoder without a text side may give vectors of any length; a reward by these would grow with the length.
        """
        return F.normalize(self.encoder.embed(waveform.float(), sample_rate).float(), dim=1)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """B captions -> vectors (B, D) of length 1, computed once for each."""
        if len(self._texts) > MAX_CAPTIONS:
            self._texts.clear()
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._texts]
        if missing:
            with torch.no_grad():
                self._texts.update(zip(missing, self.encoder.embed_text(missing), strict=True))
        return torch.stack([self._texts[caption] for caption in captions])

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> CLAPLoss:
        self._texts.clear()
        return super()._apply(fn, recurse)

"""The networks of ``encode``, and what they make of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEncoder, Batch, TextEmbedding, to_channels, to_mono
from consistency_tta.encoding.trajectories import TeacherConfig, TeacherTrajectories
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import codec_fingerprint, text_fingerprint
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError


@dataclass(frozen=True)
class Contents:
    """What is encoded besides latents.

    Attributes:
        text: whether captions are embedded.
        audio_encoder: embeds recordings; None for no such embeddings.
        trajectories: solver steps of the teacher's trajectories; 0 for none.
        teacher: of these.
    """

    text: bool = False
    audio_encoder: AudioEncoder | None = None
    trajectories: int = 0
    teacher: TeacherConfig = TeacherConfig()  # noqa: RUF009  # frozen

    def __post_init__(self) -> None:
        if self.trajectories < 0:
            raise ConfigurationError(f"expected trajectories of at least 0 solver steps, got {self.trajectories}")
        if self.audio_encoder is not None and self.audio_encoder.checksum is None:
            raise ConfigurationError(
                f"expected an audio_encoder that knows its weights' checksum, got {type(self.audio_encoder).__name__}: "
                "a training could not tell its embeddings from another's"
            )


class Encoders:
    """The networks, on a device.

    Args:
        model: folder with the codec, and with the text encoder if captions are embedded.
        contents: what else is encoded.
        device: of the networks.

    Raises:
        ModelFolderError: trajectories are wanted of a teacher with another text encoder than the model's.
    """

    def __init__(self, model: str, contents: Contents, device: torch.device) -> None:
        self.device = device
        pipeline = TextToAudioPipeline.from_pretrained(model).to(device)
        self.codec = pipeline.codec.eval()
        self.about: dict[str, Any] = {"codec": {"model": model, "sha256": codec_fingerprint(self.codec)}}
        self.keep_text = contents.text
        self.audio, self.text, self.teacher = contents.audio_encoder, None, None
        if contents.trajectories:
            self.teacher = TeacherTrajectories(contents.teacher, contents.trajectories, model, self.codec, device)
            self.text = self.teacher.text.eval()
            self.about["teacher"] = self.teacher.about
        elif contents.text:
            self.text = pipeline.text.eval()
        if self.text is not None and contents.text:
            self.about["text"] = {"model": model, "sha256": text_fingerprint(self.text)}
            if self.teacher is not None and text_fingerprint(pipeline.text) != self.about["text"]["sha256"]:
                raise ModelFolderError(
                    f"expected one text encoder, but {model} and the teacher {self.teacher.about['model']} have "
                    "different ones: give the teacher as --model"
                )
        if self.audio is not None:
            self.audio.to(device)
            self.about["audio"] = {"model": type(self.audio).__name__, "sha256": self.audio.checksum}

    @torch.no_grad()
    def __call__(self, batch: Batch, positions: list[tuple[int, int]]) -> dict[str, Tensor]:
        """Tensors of :mod:`consistency_tta.storage.shards` on the CPU, but ``text_lengths`` (B,) for ``text_ends``.

        Args:
            batch: with waveforms.
            positions: (copy, number) of each clip.
        """
        assert batch.waveform is not None
        waveform = batch.waveform.to(self.device)
        moments = self.codec.encode(to_channels(waveform, self.codec.channels))
        rows = {"moments": moments.half().cpu()}
        text = None if self.text is None else self.text(batch.captions)
        if text is not None and self.keep_text:
            rows |= without_padding(text)
        if self.audio is not None:
            rows["audio"] = self.audio.embed(to_mono(waveform), self.codec.sample_rate).float().cpu()
        if self.teacher is not None and text is not None:
            rows |= self.teacher(text, moments, positions)
        return rows


def without_padding(text: TextEmbedding) -> dict[str, Tensor]:
    """All tokens of B captions, one after the other (tokens, width) in float16, and how many each has (B,)."""
    return {"text": text.embedding[text.mask].half().cpu(), "text_lengths": text.mask.sum(1).cpu()}

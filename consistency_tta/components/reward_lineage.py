"""Which audio-text encoders a model was taught by, over all stages of its training: they should not judge it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.device import device_of

#: Numbers of a signature; those of two encoders that were trained apart differ by some hundredths each.
SIGNATURE = 16
#: By how much they may differ: packages, processors and half precision round otherwise.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class EncoderFingerprint:
    """What an audio-text encoder is known by.

    Attributes:
        checksum: SHA-256 of its file, in hexadecimal; None where it is not known.
        signature: the beginning of the vector that it makes of a certain sound, whichever file, format or package its
            weights came by; None where that is not known; empty of a network that is no audio-text encoder. Captions
            do not come in: what fools one ear fools another that differs in its reading alone.
    """

    checksum: str | None
    signature: tuple[float, ...] | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: AudioEncoder) -> EncoderFingerprint:
        """Known by the encoder's vector of one sound: a second that rises from 50 Hz to a quarter of its rate."""
        time = torch.arange(encoder.sample_rate, dtype=torch.float64) / encoder.sample_rate
        phase = 2 * torch.pi * time * (50 + (encoder.sample_rate / 4 - 50) * time / 2)
        chirp = (0.5 * phase.sin()).float()[None]
        vector = encoder.embed(chirp.to(device_of(encoder)), encoder.sample_rate)[0, :SIGNATURE]
        return cls(encoder.checksum, tuple(round(value, 4) for value in vector.tolist()))

    def same_network(self, other: EncoderFingerprint) -> bool | None:
        """Whether both are the same network; None where that is not known."""
        if self.checksum is not None and self.checksum == other.checksum:
            return True
        if () in (self.signature, other.signature):
            return False
        if self.signature is None or other.signature is None:
            return None
        return len(self.signature) == len(other.signature) and all(
            abs(one - another) <= TOLERANCE for one, another in zip(self.signature, other.signature, strict=True)
        )


@dataclass(frozen=True)
class RewardLineage:
    """Encoders, such as CLAP, by whose losses any part of a model was trained.

    Attributes:
        encoders: what they are known by.
        complete: whether there are no others; not so of models whose training is not known.
    """

    encoders: tuple[EncoderFingerprint, ...] = ()
    complete: bool = False

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any] | None) -> RewardLineage:
        """What :meth:`to_dict` gave; of nothing, nothing is known.

        Raises:
            ValueError: it is something else.
        """
        if tree is None:
            return cls()
        if not isinstance(tree, Mapping) or tree.keys() - {"signatures"} != {"sha256", "complete"}:
            raise ValueError(
                f"expected rewards with sha256, signatures and complete, as a model's folder has them, got {tree}"
            )
        signatures = tree.get("signatures") or [None] * len(tree["sha256"])  # earlier folders have none
        heard = (None if signature is None else tuple(signature) for signature in signatures)
        return cls(tuple(map(EncoderFingerprint, tree["sha256"], heard)), tree["complete"])

    @classmethod
    def by(cls, encoders: Iterable[AudioEncoder]) -> RewardLineage:
        """Of a stage that was trained by these."""
        return cls(_distinct(map(EncoderFingerprint.of, encoders)), complete=True)

    def __or__(self, other: RewardLineage) -> RewardLineage:
        """Of a model that both had a part in."""
        return RewardLineage(_distinct([*self.encoders, *other.encoders]), self.complete and other.complete)

    def include(self, judge: EncoderFingerprint) -> bool | None:
        """Whether an encoder taught the model; None where that is not known."""
        found = {judge.same_network(encoder) for encoder in self.encoders}
        if True in found:
            return True
        return False if self.complete and None not in found else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it. No list: diffusers takes a list of strings in model_index.json for a part of the model."""
        return {
            "sha256": [encoder.checksum for encoder in self.encoders],
            "signatures": [encoder.signature and list(encoder.signature) for encoder in self.encoders],
            "complete": self.complete,
        }

    def __str__(self) -> str:
        told = [encoder.checksum or "one of no known file" for encoder in self.encoders]
        return ", ".join([*told, *([] if self.complete else ["perhaps others, which are not known"])]) or "none"


def _distinct(encoders: Iterable[EncoderFingerprint]) -> tuple[EncoderFingerprint, ...]:
    """Each once; of one that is known better and worse, the better."""
    found: dict[Any, EncoderFingerprint] = {}
    for encoder in encoders:
        key = encoder.checksum or encoder.signature
        if key not in found or found[key].signature is None:
            found[key] = encoder
    return tuple(found.values())

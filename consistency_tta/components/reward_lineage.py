"""Which encoders a model was trained with as rewards, in all stages: they should not evaluate it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.device import device_of
from consistency_tta.runtime.errors import ModelFolderError

#: Numbers in a signature. Those of two encoders that were trained separately differ by some hundredths each.
SIGNATURE = 16
#: By how much they may differ, since packages, processors and half precision round differently.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class EncoderFingerprint:
    """What identifies an encoder, in whichever file, format or package its weights are.

    Attributes:
        checksum: SHA-256 of its file, in hexadecimal; None where it is not known.
        signature: the beginning of its embedding of a fixed sound; None where it is not known; empty for a network
            without a text side. Captions do not matter: two encoders that differ in their text side alone share their
            weaknesses for sounds.
    """

    checksum: str | None
    signature: tuple[float, ...] | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: AudioEncoder) -> EncoderFingerprint:
        """Compute it from the embedding of a chirp: one second, from 50 Hz to a quarter of the encoder's rate."""
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
    """Encoders, such as CLAP, whose losses trained any part of a model.

    Attributes:
        encoders: their fingerprints.
        complete: whether the list has all of them; False for models whose training is not known.
    """

    encoders: tuple[EncoderFingerprint, ...] = ()
    complete: bool = False

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any] | None) -> RewardLineage:
        """Read what :meth:`to_dict` wrote; nothing is known where there is None.

        Raises:
            ModelFolderError: it is something else.
        """
        if tree is None:
            return cls()
        if not isinstance(tree, Mapping) or tree.keys() - {"signatures"} != {"sha256", "complete"}:
            raise ModelFolderError(
                f"expected rewards with sha256, signatures and complete, as a model's folder has them, got {tree}"
            )
        signatures = tree.get("signatures") or [None] * len(tree["sha256"])  # earlier folders have none
        kept = (None if signature is None else tuple(signature) for signature in signatures)
        return cls(tuple(map(EncoderFingerprint, tree["sha256"], kept)), tree["complete"])

    @classmethod
    def by(cls, encoders: Iterable[AudioEncoder]) -> RewardLineage:
        """The lineage of a stage that these encoders trained."""
        return cls(_distinct(map(EncoderFingerprint.of, encoders)), complete=True)

    def __or__(self, other: RewardLineage) -> RewardLineage:
        """The lineage of a model to which both contributed."""
        return RewardLineage(_distinct([*self.encoders, *other.encoders]), self.complete and other.complete)

    def include(self, other: EncoderFingerprint) -> bool | None:
        """Whether an encoder trained the model; None where that is not known."""
        found = {other.same_network(encoder) for encoder in self.encoders}
        if True in found:
            return True
        return False if self.complete and None not in found else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON. Not a list: diffusers reads a list of strings in model_index.json as a part of the model."""
        return {
            "sha256": [encoder.checksum for encoder in self.encoders],
            "signatures": [encoder.signature and list(encoder.signature) for encoder in self.encoders],
            "complete": self.complete,
        }

    def __str__(self) -> str:
        names = [encoder.checksum or "one of no known file" for encoder in self.encoders]
        return ", ".join([*names, *([] if self.complete else ["perhaps others, which are not known"])]) or "none"


def _distinct(encoders: Iterable[EncoderFingerprint]) -> tuple[EncoderFingerprint, ...]:
    """Each encoder once; where one appears with a signature and without, the one with it."""
    found: dict[Any, EncoderFingerprint] = {}
    for encoder in encoders:
        key = encoder.checksum or encoder.signature
        if key not in found or found[key].signature is None:
            found[key] = encoder
    return tuple(found.values())

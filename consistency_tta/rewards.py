"""Which audio-text encoders a model was taught by, over all stages of its training: they should not judge it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rewards:
    """Encoders, such as CLAP, by whose losses any part of a model was trained.

    Attributes:
        checksums: SHA-256 of their files, in hexadecimal.
        complete: whether there are no others; not so of models whose training is not known.
    """

    checksums: tuple[str, ...] = ()
    complete: bool = False

    @classmethod
    def of(cls, tree: Mapping[str, Any] | None) -> Rewards:
        """What :meth:`tree` gave; of nothing, nothing is known.

        Raises:
            ValueError: it is something else.
        """
        if tree is None:
            return cls()
        if not isinstance(tree, Mapping) or tree.keys() != {"sha256", "complete"}:
            raise ValueError(f"expected rewards with sha256 and complete, as a model's folder has them, got {tree}")
        return cls(tuple(tree["sha256"]), tree["complete"])

    @classmethod
    def by(cls, checksums: Iterable[str | None]) -> Rewards:
        """Of a stage that was trained by these encoders, some of which may have no checksum that is known."""
        found = list(checksums)
        return cls(tuple(dict.fromkeys(one for one in found if one)), None not in found)

    def __or__(self, other: Rewards) -> Rewards:
        """Of a model that both had a part in."""
        checksums = tuple(dict.fromkeys([*self.checksums, *other.checksums]))
        return Rewards(checksums, self.complete and other.complete)

    def include(self, checksum: str | None) -> bool | None:
        """Whether an encoder taught the model; None where that is not known."""
        if checksum in self.checksums:
            return True
        return False if self.complete and checksum is not None else None

    def tree(self) -> dict[str, Any]:
        """As JSON takes it. No list: diffusers takes a list of strings in model_index.json for a part of the model."""
        return {"sha256": list(self.checksums), "complete": self.complete}

    def __str__(self) -> str:
        told = [*self.checksums, *([] if self.complete else ["perhaps others, which are not known"])]
        return ", ".join(told) or "none"

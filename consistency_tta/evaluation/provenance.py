"""How the sounds of a folder came about, as far as it is told: by whoever evaluates, or by the folder itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.evaluation.networks import identity_of
from consistency_tta.generation.folder import MANIFEST, read_manifest
from consistency_tta.storage.bundled import PIPELINE
from consistency_tta.storage.model_folder import model_folder, model_index


@dataclass(frozen=True)
class Provenance:
    """Of generated sounds.

    Attributes:
        model: its name or folder; None if nothing is said.
        rewards: the audio-text encoders that the model was taught by.
        generation: what ``consistency-tta generate`` noted down; empty if it did not make the folder.
    """

    model: str | None
    rewards: RewardLineage
    generation: dict[str, Any]

    @property
    def settings(self) -> str | None:
        """How the model was asked, for people."""
        names = ("guidance_scale", "external_guidance_scale", "steps", "grid", "seed", "weights")
        told = [f"{name} {self.generation[name]}" for name in names if self.generation.get(name) is not None]
        return ", ".join(told) or None


def provenance(generated: Path, model: str | Path | None = None, reward: str | None = None) -> Provenance:
    """What is known of a folder of sounds.

    Args:
        generated: the folder; where there are several sounds of each clip, one of its folders 0, 1, ...
        model: folder, bundled name or hub id of the model; what the folder says if None.
        reward: what else it was taught by, a CLAP's file, folder or SHA-256.

    Raises:
        FileNotFoundError: there is no such model, or no such CLAP.
    """
    told = read_manifest(generated) or (read_manifest(generated.parent) if generated.name.isdecimal() else None) or {}
    rewards = RewardLineage.from_dict(told.get("rewards"))
    if model is not None:
        own = RewardLineage.from_dict(model_index(model_folder(model, allow_patterns=[PIPELINE])).get("rewards"))
        rewards = rewards | own if told else own
    if reward is not None:
        rewards = rewards | RewardLineage((identity_of(reward),), complete=True)
    return Provenance(told.get("model") if model is None else str(model), rewards, told)


def warnings_of(source: Provenance, seed: int) -> list[str]:
    """What does not go with a protocol that is generated for with a seed."""
    if (found := source.generation.get("seed", seed)) == seed:
        return []
    return [f"{MANIFEST} says that the sounds were made with seed {found}, the protocol's is {seed}"]

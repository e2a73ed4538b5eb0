"""How the sounds of a folder were generated, as far as the options or the folder's manifest state it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.evaluation.networks import fingerprint_of
from consistency_tta.generation.folder import MANIFEST, read_manifest
from consistency_tta.storage.bundled import PIPELINE
from consistency_tta.storage.model_folder import model_folder, model_index


@dataclass(frozen=True)
class Provenance:
    """The origin of generated sounds.

    Attributes:
        model: name or folder of the model; None if it is not known.
        rewards: the audio-text encoders that the model was fine-tuned with.
        generation: settings that ``consistency-tta generate`` stored; empty if it did not write the folder.
    """

    model: str | None
    rewards: RewardLineage
    generation: dict[str, Any]

    @property
    def settings(self) -> str | None:
        """How the model was sampled, as a sentence."""
        names = ("guidance_scale", "external_guidance_scale", "steps", "grid", "seed", "weights")
        known = [f"{name} {self.generation[name]}" for name in names if self.generation.get(name) is not None]
        return ", ".join(known) or None


def provenance(generated: Path, model: str | Path | None = None, reward: str | None = None) -> Provenance:
    """The provenance of a folder of sounds.

    Args:
        generated: the folder; where there are several sounds of each clip, one of its folders 0, 1, ...
        model: folder, bundled name or hub id of the model; that of the folder's manifest if None.
        reward: another reward of the model, a CLAP's file, folder or SHA-256.

    Raises:
        FileNotFoundError: there is no such model, or no such CLAP.
    """
    above = read_manifest(generated.parent) if generated.name.isdecimal() else None
    manifest = read_manifest(generated) or above or {}
    rewards = RewardLineage.from_dict(manifest.get("rewards"))
    if model is not None:
        own = RewardLineage.from_dict(model_index(model_folder(model, allow_patterns=[PIPELINE])).get("rewards"))
        rewards = rewards | own if manifest else own
    if reward is not None:
        rewards = rewards | RewardLineage((fingerprint_of(reward),), complete=True)
    return Provenance(manifest.get("model") if model is None else str(model), rewards, manifest)


def provenance_warnings(source: Provenance, seed: int) -> list[str]:
    """Warns of sounds that were generated with another seed than the protocol's."""
    if (found := source.generation.get("seed", seed)) == seed:
        return []
    return [f"the sounds were generated with seed {found} ({MANIFEST}), the protocol's is {seed}"]

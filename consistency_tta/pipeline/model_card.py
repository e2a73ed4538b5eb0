"""The card of a model folder, ``README.md``: what is known of the model, and the hub's metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from torch import nn

#: In cards that were made here; a card without it was written by hand, and stays.
MADE_HERE = "<!-- made by consistency_tta from model_index.json: remove this line to keep your changes -->"


def write_model_card(folder: Path, pipeline: Any, previous: Path, licence: str | None = None) -> None:
    """Write the card into a folder, unless there is one that was written by hand.

    Args:
        folder: where to.
        pipeline: the model.
        previous: the card that it replaces, which need not be there.
        licence: of the weights, by the hub's name such as ``mit``; None if it is not known.
    """
    if not previous.is_file() or MADE_HERE in previous.read_text(encoding="utf-8"):
        (folder / "README.md").write_text(model_card(pipeline, previous.parent.name, licence), encoding="utf-8")


def model_card(pipeline: Any, name: str, licence: str | None = None) -> str:
    """The card of a model as Markdown, with the hub's metadata at its head."""
    stages = pipeline.config.get("training") or []
    metadata = ModelCardData(
        license=licence,
        library_name="diffusers",
        pipeline_tag="text-to-audio",
        tags=["audio", "consistency-tta"],
        ignore_metadata_errors=True,
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---\n{MADE_HERE}\n# {name}\n",
        f"{_kind(pipeline)}\n",
        "```python\nfrom diffusers import DiffusionPipeline\n\n"
        f'pipe = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)  # needs consistency-tta\n'
        'pipe("A dog barks").save("dog.wav")\n```\n',
        f"## Model\n{_table(_facts(pipeline))}",
        *(f"## Training, stage {number}\n{_table(stage)}" for number, stage in enumerate(stages, 1)),
        "" if stages else "## Training\nNot recorded.\n",
        f"## Rewards\n{_rewards(pipeline.config.get('rewards'))}\n",
        f"## Licence\n{licence or 'Not recorded: that of the data and of the models it was trained from applies.'}\n",
    ]
    return "\n".join(filter(None, parts))


def _kind(pipeline: Any) -> str:
    sampler = pipeline.sampler
    if sampler is None:
        return "A part of a text-to-audio model, for further training."
    if sampler.one_query:
        return "A text-to-audio student, which makes a sound in one query of its network."
    return f"A text-to-audio diffusion model, sampled in {sampler.default_steps} steps."


def _facts(pipeline: Any) -> dict[str, Any]:
    """What the parts say of the model."""
    facts: dict[str, Any] = {}
    if pipeline.vae is not None and (pipeline.mel is not None or hasattr(pipeline.vae.config, "sampling_rate")):
        codec = pipeline.codec
        facts |= {"sample rate": f"{codec.sample_rate} Hz", "channels": codec.channels}
        if pipeline.scheduler is not None and (pipeline.unet is not None or pipeline.transformer is not None):
            seconds = pipeline.latent_shape[1] * codec.samples_per_frame / codec.sample_rate
            facts["length"] = f"{seconds:g} s"
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            size = sum(parameter.numel() for parameter in part.parameters())
            facts[name] = type(part).__name__ + (f", {size:,} parameters" if size else "")
    if pipeline.sampler is not None:
        facts["sampler"] = type(pipeline.sampler).__name__
    if pipeline.config.get("guidance_range"):
        low, high = pipeline.config["guidance_range"]
        facts["guidance scales"] = f"{low:g} to {high:g}, in one query each"
    return facts


def _rewards(rewards: Mapping[str, Any] | None) -> str:
    if rewards is None:
        return "Not recorded."
    encoders: Iterable[Any] = rewards.get("sha256") or rewards.get("signatures") or ()
    named = ", ".join(f"`{checksum}`" for checksum in encoders)
    return f"Trained by audio-text encoders, which should not evaluate it: {named}." if named else "None."


def _table(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in facts.items())
    return f"| | |\n|---|---|\n{rows}"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{key}: {_cell(each)}" for key, each in value.items())
    return (f"{value:.4g}" if isinstance(value, float) else str(value)).replace("|", "\\|").replace("\n", " ")

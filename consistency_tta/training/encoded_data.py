"""Encoded data go with the networks of a training, or are refused before its first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from consistency_tta.runtime.errors import ConfigurationError, DataError

#: What messages call the networks.
NAMES = {"codec": "autoencoder", "text": "text encoder", "teacher": "teacher"}


def check_encodings(
    encodings: Mapping[str, Mapping[str, Any]], model: str, fingerprints: Mapping[str, Callable[[], str] | None]
) -> None:
    """Compare the networks that encoded data with those of a training.

    Args:
        encodings: by folder, networks as {model, sha256} by name (``LatentsDataModule.encodings``).
        model: the training's model folder, for messages.
        fingerprints: compute the SHA-256 of the training's networks, by name; None for one that it trains.

    Raises:
        DataError: a network is another.
        ConfigurationError: a network is trained, so that its results on disk would be out of date.
    """
    own: dict[str, str] = {}
    for folder, networks in encodings.items():
        for name in networks.keys() & fingerprints.keys():
            compute = fingerprints[name]
            if compute is None:
                raise ConfigurationError(
                    f"{folder} has embeddings by the {NAMES[name]} of {networks[name]['model']}, which this training "
                    f"changes: set the datamodule's {name}_embeddings to false"
                )
            if name not in own:
                own[name] = compute()
            if networks[name]["sha256"] != own[name]:
                raise DataError(
                    f"{folder} was encoded by the {NAMES[name]} of {networks[name]['model']} "
                    f"(SHA-256 {networks[name]['sha256'][:8]}…), but that of {model} is another ({own[name][:8]}…): "
                    "encode again with this model, or train with that one"
                )


def check_trajectories(
    encodings: Mapping[str, Mapping[str, Any]],
    guidance_range: tuple[float, float],
    caption_dropout: float,
    cropped: bool = False,
) -> None:
    """Compare how trajectories were solved with how a student is trained.

    Raises:
        ConfigurationError: w is outside the student's range, or captions are dropped or latents cropped, for which
            nothing was solved.
    """
    low, high = guidance_range
    for folder, networks in encodings.items():
        if "teacher" not in networks:
            continue
        first, last = networks["teacher"]["guidance_scale"]
        if not low <= first <= last <= high:
            raise ConfigurationError(
                f"{folder} has trajectories for guidance scales from {first:g} to {last:g}, but student.guidance_scale "
                f"is {low:g} to {high:g}: encode again with that, or set the datamodule's trajectories to false"
            )
        if cropped:
            raise ConfigurationError(
                f"{folder} has trajectories of whole clips, but student.crop_lengths cuts them: set it to [], or the "
                "datamodule's trajectories to false"
            )
        if caption_dropout:
            raise ConfigurationError(
                f"{folder} has trajectories for its captions, but caption_dropout is {caption_dropout:g}: set it to 0, "
                "or the datamodule's trajectories to false"
            )

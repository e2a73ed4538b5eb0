"""What the values of a sweep depend on, as text for the page and as columns of the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.generation.sampling_config import NUMBERS

#: A point's content of ``scores.json``.
Scores = dict[str, Any]
#: What stands there for the solver of a model that is queried instead.
NO_SOLVER = "none, a student"
_INTERVALS = ("clap_low", "clap_high", "frechet_low", "frechet_high", "diversity", "diversity_low", "diversity_high")


def table_row(scores: Scores) -> dict[str, Any]:
    """A point's row of ``sweep.csv``: its settings, its values, and what these depend on."""
    generation, evaluator = scores["generation"], scores["evaluator"]
    protocol, reference, rewards = evaluator["protocol"] or {}, evaluator["reference"], _is_reward(scores)
    values = {key: scores[key] for key in ("queries", "seconds", "clap", "clap_error", "frechet")}
    values |= {key: scores[key] for key in _INTERVALS}
    networks: dict[str, Any] = {}
    for key in ("clap", "frechet"):
        found = evaluator["networks"][evaluator[key]]
        networks |= {
            f"{key}_is_reward": rewards[evaluator[key]],
            f"{key}_network": evaluator[key],
            f"{key}_sha256": found["sha256"],
            f"{key}_sample_rate": found["sample_rate"],
        }
    return {
        **{name: generation[name] for name in ("model", *(field.name for field in NUMBERS))},
        **values,
        **networks,
        "protocol": protocol.get("name"),
        "protocol_version": protocol.get("version"),
        "protocol_sha256": protocol.get("sha256"),
        "clips": scores.get("clips"),
        "prepared": evaluator["sounds"],
        "resampler": evaluator["resampler"],
        "captions": scores["captions"]["file"],
        "captions_sha256": scores["captions"]["sha256"],
        "sounds": generation["sounds"],
        "sounds_sha256": generation["captions"],
        "reference": reference["place"],
        "recordings": reference["recordings"],
        "reference_sha256": reference["sha256"],
        "weights_sha256": generation["weights"],
        "solver": scores["solver"],
        "grid": generation["grid"] or "uniform",
        "consistency_tta": scores["consistency_tta"],
        **{found["name"]: found["value"] for found in scores.get("metric_values", [])},
    }


def measured_with(points: Sequence[Scores]) -> dict[str, str]:
    """What the values of points that can be compared depend on, as text by title.

    Args:
        points: at least one, of one evaluator and the same captions.
    """
    first = points[0]
    evaluator, reference, count = first["evaluator"], first["evaluator"]["reference"], first["generation"]["sounds"]
    captions = _each(f"{point['captions']['file']}, SHA-256 {point['captions']['sha256']}" for point in points)
    named = {evaluator[key] for key in ("clap", "frechet", "diversity")}
    others = [name for name in evaluator["networks"] if name not in named]
    facts: dict[str, str] = {
        **(evaluator["protocol"] or {"settings": {"Protocol": "none"}})["settings"],
        "Text fit": f"CLAP score of {_network(evaluator, evaluator['clap'])}",
        "Quality": f"Fréchet distance of {_network(evaluator, evaluator['frechet'])}",
        **({"Diversity": _diversity_of(evaluator)} if evaluator["diversity"] else {}),
        **({"Other networks": "; ".join(_network(evaluator, name) for name in others)} if others else {}),
        "Sounds": evaluator["sounds"],
        "Reference": f"{reference['place']}, {reference['recordings']} recordings, SHA-256 {reference['sha256']}",
        "Captions": f"{captions}; {count} sounds, SHA-256 of their list {first['generation']['captions']}",
        "Seed": _each(point["generation"]["seed"] for point in points),
    }
    if evaluator["protocol"]:
        facts["Clips"] = _each(point["clips"] for point in points)
    for model in dict.fromkeys(point["generation"]["model"] for point in points):
        own = [point for point in points if point["generation"]["model"] == model]
        facts[f"Model {model}"] = _each(_sampling(point) for point in own)
    return facts | {"consistency_tta": _each(point["consistency_tta"] for point in points)}


def warnings_of(points: Iterable[Scores]) -> list[str]:
    """The warnings of the points, each with the models it concerns."""
    models_by_warning: dict[str, list[str]] = {}
    for point in points:
        for warning in point["warnings"]:
            models_by_warning.setdefault(warning, []).append(point["generation"]["model"])
    return [f"{', '.join(dict.fromkeys(models))}: {warning}." for warning, models in models_by_warning.items()]


def _network(evaluator: dict[str, Any], name: str) -> str:
    found = evaluator["networks"][name]
    return f"{name} at {found['sample_rate']} Hz, SHA-256 {found['sha256']}"


def _diversity_of(evaluator: dict[str, Any]) -> str:
    return f"mean distance of the sounds of one caption, embedded by {_network(evaluator, evaluator['diversity'])}"


def _sampling(point: Scores) -> str:
    generation = point["generation"]
    return (
        f"weights with SHA-256 {generation['weights']}; solver {point['solver']}; {generation['grid'] or 'uniform'} "
        f"grid; SHA-256 of the reward networks: {RewardLineage.from_dict(generation['rewards'])}"
    )


def _is_reward(scores: Scores) -> dict[str, bool | None]:
    return {network["name"]: network["is_reward"] for network in scores["networks"]}


def _each(values: Iterable[object]) -> str:
    """Different values, each once."""
    return "; ".join(dict.fromkeys(map(str, values)))

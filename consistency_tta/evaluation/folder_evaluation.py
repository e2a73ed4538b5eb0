"""Evaluates a folder of generated sounds by a protocol, and returns the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consistency_tta import __version__
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.clips import GENERATED
from consistency_tta.evaluation.embedding_cache import EmbeddingCache
from consistency_tta.evaluation.evaluator import Evaluator, check_metrics
from consistency_tta.evaluation.extraction import EmbeddingExtractor
from consistency_tta.evaluation.networks import fingerprint, make_networks
from consistency_tta.evaluation.pairing import Pairs, find_pairs, numbered
from consistency_tta.evaluation.protocol import Protocol
from consistency_tta.evaluation.protocol_file import load_protocol
from consistency_tta.evaluation.provenance import provenance, provenance_warnings
from consistency_tta.evaluation.result import EmbeddingNetwork, EvaluationResult
from consistency_tta.evaluation.sound_warnings import named, silence_warnings, sound_warnings
from consistency_tta.evaluation.variety import variety_warnings
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.captions import caption_file
from consistency_tta.storage.checksum import checksum


@dataclass(frozen=True)
class EmbeddingCounts:
    """How many sounds and captions were embedded, and how many the cache had."""

    embedded: int
    recalled: int


def evaluate_folder(
    generated: Path,
    reference: Path,
    protocol: str | Path | Protocol,
    cache: Path,
    captions: Path | None = None,
    weights: Mapping[str, str] | None = None,
    batch_size: int = 8,
    device: str | None = None,
    model: str | Path | None = None,
    reward: str | None = None,
) -> tuple[EvaluationResult, EmbeddingCounts]:
    """Compute a protocol's metrics of a folder of generated sounds. Only ``cache`` is written to.

    Args:
        generated: folder of sounds named as their clips; or of such folders 0, 1, ... by ``consistency-tta generate``.
        reference: folder of the recordings with the same names.
        protocol: a protocol, the name of one that comes with the package, or a YAML file.
        cache: folder for embeddings, which evaluations may share.
        captions: caption file that names the clips that were generated; the protocol's own list if None.
        weights: file or folder of a network's weights, by the network's name.
        batch_size: sounds embedded at a time.
        device: such as cuda or cpu; the best available if None.
        model: that generated the sounds, whose ``model_index.json`` may name rewards; if None, what ``generate`` stored
            with the sounds.
        reward: another reward of the model, a CLAP's file, folder or SHA-256.

    Returns:
        The result, and how many sounds were embedded for it.

    Raises:
        ConfigurationError: an option, metric or network is wrong.
        DataError: fewer than two clips can be used, or no metric has a value.
        FileNotFoundError: a folder, file or network's weights do not exist.
    """
    if batch_size < 1:
        raise ConfigurationError(f"expected a batch_size of at least 1, got {batch_size}")
    rules = protocol if isinstance(protocol, Protocol) else checked_protocol(protocol)
    origin = provenance(generated, model, reward)
    generated, *more = numbered(generated)
    pairs = find_pairs(rules, generated, reference, captions, more)
    place = best_device(device)
    evaluator = Evaluator(
        rules.metrics, make_networks(rules, weights or {}), rules.bootstrap, rules.seed, batch_size, place
    )
    extractor = EmbeddingExtractor(rules.audio, evaluator.networks, EmbeddingCache(cache), batch_size, place)
    extracted = extractor.extract(pairs.pairs, evaluator.sound_metrics(rules.audio.sample_rate))
    left_out = pairs.left_out + extracted.left_out
    if len(extracted.pairs) < 2:
        reasons = "; ".join([*_without_clip(pairs), *map(str, left_out[:3])])
        got = f"{len(extracted.pairs)} of {pairs.requested} requested"
        raise DataError(f"expected at least 2 clips with both sounds, got {got}{f'. {reasons}' if reasons else ''}")
    table = evaluator.compute(extracted.collections, extracted.values)
    if not table.values:
        raise DataError(f"expected clips for which a metric has a value: {'; '.join(table.warnings)}")
    source = rules.clip_list if captions is None else caption_file(captions)
    assert source is not None  # find_pairs raises otherwise
    result = EvaluationResult(
        protocol=rules,
        version=__version__,
        generated=generated,
        more=more,
        reference=reference,
        captions=source,
        captions_sha256=checksum(source),
        provenance=origin,
        pairs=extracted.pairs,
        requested=pairs.requested,
        left_out=left_out,
        silent_or_short=extracted.silent_or_short,
        unused=pairs.unused,
        formats={side: dict(kinds.most_common()) for side, kinds in extracted.formats.items()},
        networks=[_describe(name, one, rules, origin.rewards) for name, one in evaluator.networks.items()],
        metric_values=table.values,
        per_clip={name: values.tolist() for name, values in table.per_clip.items()},
    )
    of_sounds = [*sound_warnings(extracted.pairs, rules.audio), *variety_warnings(extracted.collections)]
    of_files = [*_without_clip(pairs), *silence_warnings(extracted.silent_or_short, len(extracted.pairs))]
    result.warnings = [*_warnings(result, len(pairs.other_captions)), *of_files, *of_sounds, *table.warnings]
    return result, EmbeddingCounts(extracted.embedded, extracted.recalled)


def checked_protocol(protocol: str | Path) -> Protocol:
    """A protocol whose metrics are known and take their options; see also :func:`load_protocol`.

    Raises:
        ConfigurationError: a metric or option is not known, or a network is missing.
    """
    rules = load_protocol(protocol)
    check_metrics(rules.metrics, rules.audio)
    return rules


def _without_clip(pairs: Pairs) -> list[str]:
    """A warning of generated files that belong to no clip, where clips lack a file; else nothing."""
    files = [finding.id for finding in pairs.unused if finding.side == GENERATED]
    lacking = [finding.id for finding in pairs.left_out if finding.side == GENERATED and finding.reason == "missing"]
    if not files or not lacking:
        return []
    return [
        f"{len(files)} generated files belong to no clip ({named(files)}), and {len(lacking)} clips have no file: name "
        f"each file as its clip, such as {lacking[0]}{Path(files[0]).suffix}"
    ]


def _describe(name: str, network: AudioEncoder, rules: Protocol, rewards: RewardLineage) -> EmbeddingNetwork:
    pinned = rules.networks[name].sha256 is not None
    return EmbeddingNetwork(name, str(network.checksum), pinned, rewards.include(fingerprint(network)))


def _warnings(result: EvaluationResult, other_captions: int) -> list[str]:
    """Warnings of what limits the comparison of the values."""
    clips, whole, name = len(result.pairs), result.protocol.clips.number, result.protocol.name
    found = []
    if clips != whole:
        found.append(
            f"{clips} clips were used, not the {whole} of {name}: compare these values with those of the same clips "
            "only"
        )
    if clips < result.requested:
        found.append("Clips that could not be evaluated are left out, which flatters a model that failed on them")
    if other_captions:
        found.append(f"{other_captions} clips have another caption than that of {name}")
    found += provenance_warnings(result.provenance, result.protocol.generation_seed)
    for network in result.networks:
        metrics = ", ".join(one.name for one in result.metric_values if network.name in one.name.split("/"))
        if network.is_reward:
            found.append(network.reward_warning(metrics))
        if not network.pinned:
            found.append(f"{name} pins no weights of {network.name}: compare the SHA-256 before comparing {metrics}")
    return found

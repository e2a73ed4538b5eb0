"""The command ``evaluate``: a folder of generated sounds beside a folder of recordings, by a protocol."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

from consistency_tta import __version__
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.bootstrap import Interval, mean_interval, set_intervals
from consistency_tta.evaluation.clips import find_pairs, numbered
from consistency_tta.evaluation.embedding_cache import EmbeddingCache
from consistency_tta.evaluation.extraction import EmbeddingExtractor, ExtractionResult, SoundMetric
from consistency_tta.evaluation.markdown import interval, markdown, number, used
from consistency_tta.evaluation.metric_specs import METRICS, Kind, UndefinedMetric, rehearse
from consistency_tta.evaluation.networks import identity, make_networks
from consistency_tta.evaluation.protocol import MetricSettings, Protocol, file_sha256, load_protocol
from consistency_tta.evaluation.provenance import provenance, warnings_of
from consistency_tta.evaluation.report import write_report
from consistency_tta.evaluation.result import Judge, MetricValue, Result
from consistency_tta.runtime.device import best_device
from consistency_tta.storage.atomic_directory import check_folder
from consistency_tta.storage.captions import caption_file

#: Findings that are printed; the report has them all.
PRINTED = 10


def evaluate(
    generated: Path,
    reference: Path,
    protocol: str,
    captions: Path | None = None,
    output: Path = Path("report"),
    weights: str | list[str] | None = None,
    cache: Path | None = None,
    batch_size: int = 8,
    device: str | None = None,
    model: str | None = None,
    reward: str | None = None,
) -> Result:
    """Judge generated sounds beside recordings by a protocol; writes result.json, report.md and report.html.

    Args:
        generated: folder of generated sounds (wav, flac, ogg, mp3), each named as its clip; or a folder with several
            such, 0, 1, ..., by ``generate``: of these the first is judged, and others count for diversity alone.
        reference: folder of the recordings with the same names.
        protocol: name of one that comes with the package, or a YAML file.
        captions: caption file that says which of the protocol's clips were generated, of which captions; the
            protocol's own list if not given.
        output: folder to write to.
        weights: where a network's weights are, as mn04=path; several in a list, or with commas between them.
        cache: folder for what networks heard, which evaluations may share; ``heard`` in the output if not given.
        batch_size: sounds heard at a time.
        device: such as cuda or cpu; the best there is if not given.
        model: folder, bundled name or hub id of the model that made the sounds, whose model_index.json may name
            ``rewards``; what ``generate`` noted in the folder of sounds if not given.
        reward: what else the model was fine-tuned by, a CLAP's file, folder or SHA-256. A judge that is the same
            network is warned of.

    Returns:
        What was found.
    """
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
    check_folder(output, "--output")
    if cache is not None:
        check_folder(cache, "--cache")
    rules = rehearsed(protocol)
    origin = provenance(generated, model, reward)
    generated, *more = numbered(generated)
    pairs = find_pairs(rules, generated, reference, captions, more)
    networks = make_networks(rules, places_of(weights))
    listener = EmbeddingExtractor(
        rules, networks, EmbeddingCache(cache or output / "heard"), batch_size, best_device(device)
    )
    heard = listener.extract(pairs.pairs, _sound_metrics(rules))
    left_out = pairs.left_out + heard.left_out
    if len(heard.pairs) < 2:
        reasons = "; ".join(map(str, left_out[:3]))
        raise ValueError(f"expected at least 2 clips with both sounds, got {len(heard.pairs)}. {reasons}")
    source = rules.clip_list if captions is None else caption_file(captions)
    assert source is not None  # find_pairs would not have come back
    result = Result(
        protocol=rules,
        version=__version__,
        generated=generated,
        more=more,
        reference=reference,
        captions=source,
        captions_sha256=file_sha256(source),
        origin=origin,
        pairs=heard.pairs,
        asked=pairs.asked,
        left_out=left_out,
        odd=heard.odd,
        unused=pairs.unused,
        formats={side: dict(kinds.most_common()) for side, kinds in heard.formats.items()},
        judges=[_judge(name, network, rules, origin.rewards) for name, network in networks.items()],
    )
    said = [warning for settings in rules.metrics for warning in _compute(settings, heard, result)]
    result.warnings = [*_warnings(result, len(pairs.other_captions)), *said]
    if not result.figures:
        raise ValueError(f"expected clips that the protocol can judge: {'; '.join(result.warnings)}")
    output.mkdir(parents=True, exist_ok=True)
    result.write(output / "result.json")
    (output / "report.md").write_text(markdown(result), encoding="utf-8")
    write_report(result, output / "report.html")
    print(_summary(result, heard, output))
    return result


def rehearsed(protocol: str | Path) -> Protocol:
    """A protocol whose metrics are known to work with its options; see also :func:`load_protocol`.

    Raises:
        ValueError: a metric or option is not known, or a network is missing.
    """
    rules = load_protocol(protocol)
    for settings in rules.metrics:
        _check(settings)
        rehearse(settings.metric, settings.options, rules.audio.sample_rate, rules.audio.num_samples)
    return rules


def places_of(weights: str | list[str] | None) -> dict[str, str]:
    """Where networks' weights are, by name, of ``mn04=path``.

    Raises:
        ValueError: it is something else.
    """
    several = (weights.split(",") if isinstance(weights, str) else weights) or []
    places = dict(one.partition("=")[::2] for one in several)
    for name, place in places.items():
        if not name or not place:
            raise ValueError(
                f"expected --weights NAME=PATH, such as mn04=checkpoints/mn04_as_mAP_432.pt, got {weights}"
            )
    return places


def _check(settings: MetricSettings) -> None:
    """Refuse a metric that is not known, or lacks a network."""
    if settings.metric not in METRICS:
        raise ValueError(f"expected metrics among {', '.join(METRICS)}, got {settings.metric}")
    kind = METRICS[settings.metric].kind
    if (settings.network is None) != (kind is Kind.SOUND):
        wanted = "no network, for it hears by itself" if kind is Kind.SOUND else "the name of a network"
        raise ValueError(f"{settings.metric}: expected {wanted}, got {settings.network}")


def _sound_metrics(rules: Protocol) -> dict[str, SoundMetric]:
    """The protocol's metrics that hear by themselves."""
    return {
        settings.name: partial(measure.function, sample_rate=rules.audio.sample_rate, **settings.options)
        for settings in rules.metrics
        if (measure := METRICS[settings.metric]).kind is Kind.SOUND
    }


def _judge(name: str, network: AudioEncoder, rules: Protocol, rewards: RewardLineage) -> Judge:
    pinned = rules.networks[name].sha256 is not None
    return Judge(name, network.checksum or "", pinned, rewards.include(identity(network)))


def _compute(settings: MetricSettings, heard: ExtractionResult, result: Result) -> list[str]:
    """Add a metric's figures, and the clips' values where it has some; what must be known of them."""
    add = _add_set if METRICS[settings.metric].kind is Kind.SET else _add_clips
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            add(settings, heard, result)
    except UndefinedMetric as error:
        return [f"{settings.name} has no figure: {error}"]
    messages = dict.fromkeys(str(warning.message) for warning in said if warning.category is UserWarning)
    return [f"{settings.name}: {message}" for message in messages]


def _add_set(settings: MetricSettings, heard: ExtractionResult, result: Result) -> None:
    """Add the figures of a metric of sets."""
    measure, rules, name = METRICS[settings.metric], result.protocol, settings.name
    clips = heard.collections[settings.network or ""]
    whole = measure.function(clips, **settings.options)
    intervals: dict[str, Interval] = {}
    try:
        if settings.interval:
            figures = measure.figures(clips, **settings.options)
            intervals = set_intervals(whole, figures, len(clips), rules.bootstrap, rules.seed)
    except UndefinedMetric as error:
        warnings.warn(f"no interval, for draws of so few clips have no figure: {error}", stacklevel=2)
    for part, value in whole.items():
        titles = (f"{measure.title}, {part}", f"{name}/{part}") if part else (measure.title, name)
        better = None if part in measure.neither else measure.higher_is_better
        # What is neither better when higher nor when lower says how sure the others are.
        interval = None if part in measure.neither else intervals.get(part)
        result.figures.append(MetricValue(titles[1], titles[0], better, value, interval))


def _add_clips(settings: MetricSettings, heard: ExtractionResult, result: Result) -> None:
    """Add the figure of a metric of clips, or of sounds, and their values."""
    measure, rules, name = METRICS[settings.metric], result.protocol, settings.name
    if measure.kind is Kind.SOUND:
        values = heard.values[name]
    else:
        values = measure.values(heard.collections[settings.network or ""], **settings.options)
    interval = mean_interval(values, rules.bootstrap, rules.seed) if settings.interval else None
    result.figures.append(MetricValue(name, measure.title, measure.higher_is_better, float(values.mean()), interval))
    result.per_clip[name] = values.tolist()


def _warnings(result: Result, other_captions: int) -> list[str]:
    """What whoever reads the figures must know."""
    clips, whole, name = len(result.pairs), result.protocol.clips.number, result.protocol.name
    found = []
    if clips != whole:
        found.append(
            f"{clips} clips count, not the {whole} of {name}: compare these figures with those of the same clips only"
        )
    if clips < result.asked:
        found.append("Clips that could not be judged are left out, which flatters a model that failed on them")
    if other_captions:
        found.append(f"{other_captions} clips have another caption than that of {name}")
    found += warnings_of(result.origin, result.protocol.generation_seed)
    for judge in result.judges:
        figures = ", ".join(figure.name for figure in result.figures if judge.name in figure.name.split("/"))
        if judge.is_reward:
            found.append(judge.pleased(figures))
        if not judge.pinned:
            found.append(f"{name} pins no weights of {judge.name}: compare the SHA-256 before comparing {figures}")
    return found


def _summary(result: Result, heard: ExtractionResult, output: Path) -> str:
    """A few lines for the terminal."""
    width = max(len(figure.name) for figure in result.figures)
    lines = [
        f"{result.protocol.name} version {result.protocol.version}, SHA-256 {result.protocol.sha256}",
        used(result),
    ]
    for figure in result.figures:
        spread = "" if figure.interval is None else f"  ({interval(figure)})"
        lines.append(f"  {figure.name:<{width}}  {number(figure.value)}{spread}")
    lines += [f"warning: {warning}" for warning in result.warnings]
    findings = result.left_out + result.odd
    lines += [f"  {finding}" for finding in findings[:PRINTED]]
    if len(findings) > PRINTED:
        lines.append(f"  and {len(findings) - PRINTED} more")
    listened = f"networks heard {heard.embedded} sounds and captions, the cache knew {heard.recalled}"
    return "\n".join([*lines, f"{output / 'report.html'}, report.md, result.json written; {listened}"])

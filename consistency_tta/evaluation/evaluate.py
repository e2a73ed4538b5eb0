"""The command ``evaluate``: evaluates a folder of generated sounds and writes the result."""

from __future__ import annotations

from pathlib import Path

from consistency_tta.evaluation.folder_evaluation import EmbeddingCounts, evaluate_folder
from consistency_tta.evaluation.markdown import interval, markdown, number, used
from consistency_tta.evaluation.networks import weights_by_name
from consistency_tta.evaluation.report import write_report
from consistency_tta.evaluation.result import EvaluationResult
from consistency_tta.storage.atomic_directory import check_folder

#: Findings that are printed; the report has them all.
PRINTED = 10
#: Folder of embeddings in the output, unless another is given.
CACHE = "embeddings"


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
) -> EvaluationResult:
    """Compare generated sounds with recordings by a protocol; writes result.json, report.md and report.html.

    Args:
        generated: folder of generated sounds (wav, flac, ogg, mp3), each named as its clip; or a folder with several
            such, 0, 1, ..., by ``generate``: the first is evaluated, and the others are used for diversity alone.
        reference: folder of the recordings with the same names.
        protocol: name of one that comes with the package, or a YAML file.
        captions: caption file that lists which of the protocol's clips were generated, with which captions; the
            protocol's own list if not given.
        output: folder to write to.
        weights: file or folder of a network's weights, as mn04=path; several in a list, or with commas between them.
        cache: folder for embeddings, which evaluations may share; ``embeddings`` in the output if not given.
        batch_size: sounds embedded at a time.
        device: such as cuda or cpu; the best available if not given.
        model: folder, bundled name or hub id of the model that generated the sounds, whose model_index.json may name
            ``rewards``; what ``generate`` stored with the sounds if not given.
        reward: what else the model was fine-tuned with, a CLAP's file, folder or SHA-256. The report warns of a network
            that is a reward of the model.

    Returns:
        The result.
    """
    check_folder(output, "--output")
    if cache is not None:
        check_folder(cache, "--cache")
    result, counts = evaluate_folder(
        generated,
        reference,
        protocol,
        cache or output / CACHE,
        captions,
        weights_by_name(weights),
        batch_size,
        device,
        model,
        reward,
    )
    write(result, output)
    print(summary(result, counts, output))
    return result


def write(result: EvaluationResult, output: Path) -> None:
    """Write ``result.json``, ``report.md`` and ``report.html`` to a folder."""
    output.mkdir(parents=True, exist_ok=True)
    result.write(output / "result.json")
    (output / "report.md").write_text(markdown(result), encoding="utf-8", errors="backslashreplace")
    write_report(result, output / "report.html")


def summary(result: EvaluationResult, counts: EmbeddingCounts, output: Path) -> str:
    """A few lines for the terminal."""
    width = max(len(found.name) for found in result.metric_values)
    lines = [
        f"{result.protocol.name} version {result.protocol.version}, SHA-256 {result.protocol.sha256}",
        used(result),
    ]
    for found in result.metric_values:
        spread = "" if found.interval is None else f"  ({interval(found)})"
        lines.append(f"  {found.name:<{width}}  {number(found.value)}{spread}")
    lines += [f"warning: {warning}" for warning in result.warnings]
    findings = result.left_out + result.silent_or_short
    lines += [f"  {finding}" for finding in findings[:PRINTED]]
    if len(findings) > PRINTED:
        lines.append(f"  and {len(findings) - PRINTED} more")
    cache = f"{counts.embedded} sounds and captions embedded, {counts.recalled} read from the cache"
    return "\n".join([*lines, f"{output / 'report.html'}, report.md, result.json written; {cache}"])

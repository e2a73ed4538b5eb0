"""Finding clips that cannot be used, before training finds them."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from consistency_tta.audio.sound_file import CANCELLED_SHARE, BadClip, Fault, audio_info, cancelling, read_whole
from consistency_tta.datamodules.audio import normalise
from consistency_tta.datamodules.clips import AudioFolder, Clip, read_captions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Clips of one kind that are printed; a report file has them all.
PRINTED = 50


@dataclass(frozen=True)
class Finding:
    """What is wrong with a clip.

    Attributes:
        id: of the clip.
        path: of its file.
        fault: of which kind.
        detail: what was found, for people.
        usable: the clip can be used all the same.
    """

    id: str
    path: str
    fault: Fault
    detail: str
    usable: bool = False


def check_headers(clips: Sequence[Clip], min_seconds: float, num_threads: int = 8) -> list[Finding]:
    """Missing, unreadable and too short clips, from the files' headers: quick, and enough to start training.

    Sounds inside of other files, such as shards, are not looked at: all their bytes would be read.

    Args:
        clips: to look at.
        min_seconds: the shortest clip that can be used.
        num_threads: files opened at a time.
    """
    return _check([clip for clip in clips if clip.own_file], partial(_header, min_seconds=min_seconds), num_threads)


def check_samples(clips: Sequence[Clip], min_seconds: float, num_threads: int = 8) -> list[Finding]:
    """All of that, and clips that are silent, truncated, not finite or damaged inside, or whose channels cancel.

    Clips whose channels almost cancel are among the findings, too, as usable.

    Decodes everything, with a progress bar.

    Args:
        clips: to look at.
        min_seconds: the shortest clip that can be used.
        num_threads: files decoded at a time.
    """
    return _check(clips, partial(_samples, min_seconds=min_seconds), num_threads, progress=True)


def summary(findings: Sequence[Finding], num_clips: int) -> str:
    """One line: how many clips of how many cannot be used, by kind."""
    counts = Counter(finding.fault for finding in findings)
    kinds = ", ".join(f"{counts[fault]} {fault}" for fault in Fault if counts[fault])
    return f"{len(findings)} of {num_clips} clips cannot be used" + (f" ({kinds})" if kinds else "")


def listing(findings: Sequence[Finding], limit: int = PRINTED) -> str:
    """Which clips, and why: a line each, at most ``limit`` of a kind."""
    lines = []
    for fault in Fault:
        group = [finding for finding in findings if finding.fault == fault]
        lines += [f"  {fault}: {finding.id} ({finding.detail})" for finding in group[:limit]]
        if len(group) > limit:
            lines.append(f"  {fault}: ... and {len(group) - limit} more")
    return "\n".join(lines)


def data_check(
    captions: str | list[str],
    audio_folder: str,
    sample_rate: int = 16000,
    min_seconds: float = 0.5,
    num_threads: int = 8,
    output: str | None = None,
) -> None:
    """Decode every clip of caption files and report which cannot be used for training.

    Args:
        captions: caption file or files: AudioCaps CSV, or TANGO's JSON lines.
        audio_folder: folder with the audio, at any depth.
        sample_rate: the model's, in Hz; recordings of a lower rate are counted, as they lack the highest frequencies.
        min_seconds: the shortest clip that can be used.
        num_threads: files decoded at a time.
        output: JSON file to write the complete report to.

    Raises:
        SystemExit: with status 1, if any clip cannot be used.
    """
    folder = AudioFolder(audio_folder)
    files = [captions] if isinstance(captions, str) else captions
    clips = [clip for file in files for clip in read_captions(file, folder)]
    found = check_samples(clips, min_seconds, num_threads)
    findings = [finding for finding in found if not finding.usable]
    odd = [f"{finding.id}: {finding.detail}" for finding in found if finding.usable] + doubtful(clips)
    bad = {(finding.id, finding.path) for finding in findings}
    infos = [audio_info(clip.path) for clip in clips if (clip.id, str(clip.path)) not in bad]
    hours = sum(frames / rate for rate, frames, _ in infos) / 3600
    rates = {str(rate): count for rate, count in sorted(Counter(rate for rate, _, _ in infos).items())}
    report = {
        "num_clips": len(clips),
        "num_captions": sum(len(clip.captions) for clip in clips),
        "usable_hours": round(hours, 3),
        "sample_rates": rates,
        "below_sample_rate": sum(rate < sample_rate for rate, _, _ in infos),
        "bad_clips": [asdict(finding) for finding in findings],
        "warnings": odd,
    }
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{summary(findings, len(clips))}; {hours:.2f} h of audio can, with {report['num_captions']} captions in all")
    print("sample rates: " + ", ".join(f"{count} clips at {rate} Hz" for rate, count in rates.items()))
    if report["below_sample_rate"]:
        print(f"{report['below_sample_rate']} clips have a rate below {sample_rate} Hz and lack high frequencies")
    for warning in odd[:PRINTED]:
        print(f"warning: {warning}")
    if len(odd) > PRINTED:
        print(f"warning: ... and {len(odd) - PRINTED} more")
    if findings:
        print(listing(findings))
        raise SystemExit(1)


def doubtful(clips: Sequence[Clip]) -> list[str]:
    """What is strange about clips' names and captions, a sentence each."""
    found = []
    for clip in clips:
        if clip.others:
            others = ", ".join(path.name for path in clip.others[:3])
            found.append(
                f"{clip.id}: {clip.path.name} is used, and {others} may be the same clip: remove what is not meant"
            )
        twice = [caption for caption, count in Counter(clip.captions).items() if count > 1]
        if twice:
            found.append(f"{clip.id}: has the caption {twice[0]!r:.60} more than once")
    users: dict[Path, list[str]] = {}
    for clip in clips:
        if not (clip.missing or clip.ambiguous):
            users.setdefault(clip.path, []).append(clip.id)
    shared = {path: ids for path, ids in users.items() if len(set(ids)) > 1}
    return found + [f"{path.name} is the sound of several clips: {', '.join(ids[:3])}" for path, ids in shared.items()]


def _check(
    clips: Sequence[Clip], look: Callable[[Clip], Finding | None], num_threads: int, progress: bool = False
) -> list[Finding]:
    # Threads, not processes: libsndfile does the work and does not hold Python's lock.
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        looked = tqdm(pool.map(look, clips), total=len(clips), desc="clips", disable=not progress)
        return [finding for finding in looked if finding is not None]


def _info(clip: Clip, min_seconds: float) -> None:
    if clip.ambiguous:
        raise BadClip(Fault.MISSING, f"ambiguous: {clip.ambiguous}")
    if clip.missing:
        raise BadClip(Fault.MISSING, clip.missing)
    audio_info(clip.path, min_seconds)


def _header(clip: Clip, min_seconds: float) -> Finding | None:
    try:
        _info(clip, min_seconds)
    except BadClip as bad:
        return Finding(clip.id, str(clip.path), bad.fault, bad.detail)
    return None


def _samples(clip: Clip, min_seconds: float) -> Finding | None:
    try:
        _info(clip, min_seconds)
        waveform, rate, _, kept_power = read_whole(clip.path)
        if len(waveform) < min_seconds * rate:
            raise BadClip(Fault.TOO_SHORT, f"{len(waveform) / rate:.3f} s decoded, expected at least {min_seconds} s")
        normalise(waveform)
        if kept_power < CANCELLED_SHARE:
            return Finding(clip.id, str(clip.path), Fault.CANCELLED, cancelling(kept_power), usable=True)
    except BadClip as bad:
        return Finding(clip.id, str(clip.path), bad.fault, bad.detail)
    return None

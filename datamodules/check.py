"""Finding clips that cannot be used, before training finds them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tqdm import tqdm

from consistency_tta.audio.sound_file import BadClip, Fault, audio_info, read_whole
from consistency_tta.audio.zeros import zeros_report
from consistency_tta.datamodules.audio import normalise
from consistency_tta.datamodules.clips import Clip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

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


class Examined(NamedTuple):
    """A clip that was decoded.

    Attributes:
        finding: what is wrong with it, if anything is.
        sample_rate: in Hz; 0 if it cannot be used.
        frames: its samples.
    """

    finding: Finding | None
    sample_rate: int = 0
    frames: int = 0


def check_headers(clips: Sequence[Clip], min_seconds: float, num_threads: int = 8) -> list[Finding]:
    """Missing, unreadable and too short clips, from the files' headers: quick, and enough to start training.

    Sounds inside of other files, such as shards, are not looked at: all their bytes would be read.

    Args:
        clips: to look at.
        min_seconds: the shortest clip that can be used.
        num_threads: files opened at a time.
    """
    own = [clip for clip in clips if clip.own_file]
    found = _in_threads(own, partial(_header, min_seconds=min_seconds), num_threads)
    return [finding for finding in found if finding is not None]


def check_samples(clips: Sequence[Clip], min_seconds: float, num_threads: int = 8) -> list[Finding]:
    """The findings of :func:`examine`."""
    return [one.finding for one in examine(clips, min_seconds, num_threads) if one.finding is not None]


def examine(clips: Sequence[Clip], min_seconds: float, num_threads: int = 8) -> list[Examined]:
    """Decode all clips, with a progress bar.

    That finds what headers show, and clips that are silent, truncated, not finite or damaged inside, or whose channels
    cancel. Clips whose channels almost cancel, in all or a part, or that have zeros for a large part, have findings as
    usable ones.

    Args:
        clips: to decode.
        min_seconds: the shortest clip that can be used.
        num_threads: files decoded at a time.
    """
    return _in_threads(clips, partial(_samples, min_seconds=min_seconds), num_threads, progress=True)


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


def _in_threads(clips: Sequence[Clip], look: Callable[[Clip], T], num_threads: int, progress: bool = False) -> list[T]:
    # Threads, not processes: libsndfile does the work and does not hold Python's lock.
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        return list(tqdm(pool.map(look, clips), total=len(clips), desc="clips", disable=not progress))


def _require_file(clip: Clip) -> None:
    if clip.ambiguous:
        raise BadClip(Fault.MISSING, f"ambiguous: {clip.ambiguous}")
    if clip.missing:
        raise BadClip(Fault.MISSING, clip.missing)


def _header(clip: Clip, min_seconds: float) -> Finding | None:
    try:
        _require_file(clip)
        audio_info(clip.path, min_seconds)
    except BadClip as bad:
        return Finding(clip.id, str(clip.path), bad.fault, bad.detail)
    return None


def _samples(clip: Clip, min_seconds: float) -> Examined:
    try:
        _require_file(clip)
        source = clip.sound()
        audio_info(source, min_seconds)
        waveform, rate, _, cancelling = read_whole(source)
        if len(waveform) < min_seconds * rate:
            raise BadClip(Fault.TOO_SHORT, f"{len(waveform) / rate:.3f} s decoded, expected at least {min_seconds} s")
        normalise(waveform)
    except BadClip as bad:
        return Examined(Finding(clip.id, str(clip.path), bad.fault, bad.detail))
    finding = None
    if cancelling:
        finding = Finding(clip.id, str(clip.path), Fault.CANCELLED, cancelling, usable=True)
    elif report := zeros_report(waveform, rate):
        finding = Finding(clip.id, str(clip.path), Fault.TRUNCATED, report, usable=True)
    return Examined(finding, rate, len(waveform))

"""The command ``data-check``: which clips cannot be used for training, and what is strange about others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lightning.pytorch import LightningDataModule

from consistency_tta.datamodules.check import PRINTED, Examined, examine, listing, summary
from consistency_tta.datamodules.clips import AudioFolder, Clip, read_captions
from consistency_tta.datamodules.recordings import RecordingsDataModule
from consistency_tta.runtime.errors import ConfigurationError

#: Seconds, and the share of the stated length, by which a file's length may differ from it.
LENGTH_SLACK, LENGTH_SHARE = 0.5, 0.05


def data_check(
    captions: str | list[str] | None = None,
    audio_folder: str | None = None,
    data: LightningDataModule | None = None,
    sample_rate: int = 16000,
    min_seconds: float = 0.5,
    num_threads: int = 8,
    output: str | None = None,
) -> None:
    """Decode every clip of caption files, or of a datamodule, and report which cannot be used for training.

    Args:
        captions: caption file or files: AudioCaps CSV, or TANGO's JSON lines.
        audio_folder: folder with the audio, at any depth.
        data: instead of these, a datamodule of recordings, such as HuggingFaceDataModule; all splits that it names.
        sample_rate: the model's, in Hz; recordings of a lower rate are counted, as they lack the highest frequencies.
        min_seconds: the shortest clip that can be used.
        num_threads: files decoded at a time.
        output: JSON file to write the complete report to.

    Raises:
        ConfigurationError: if neither captions and a folder nor a datamodule of recordings are given, or both.
        SystemExit: with status 1, if any clip cannot be used.
    """
    clips = _clips(captions, audio_folder, data)
    examined = examine(clips, min_seconds, num_threads)
    found = [one.finding for one in examined if one.finding is not None]
    findings = [finding for finding in found if not finding.usable]
    odd = [f"{finding.id}: {finding.detail}" for finding in found if finding.usable]
    odd += [*other_lengths(clips, examined), *doubtful(clips)]
    usable = [one for one in examined if one.sample_rate]
    hours = sum(one.frames / one.sample_rate for one in usable) / 3600
    rates = {str(rate): count for rate, count in sorted(Counter(one.sample_rate for one in usable).items())}
    report = {
        "num_clips": len(clips),
        "num_captions": sum(len(clip.captions) for clip in clips),
        "usable_hours": round(hours, 3),
        "sample_rates": rates,
        "below_sample_rate": sum(one.sample_rate < sample_rate for one in usable),
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


def _clips(captions: str | list[str] | None, audio_folder: str | None, data: LightningDataModule | None) -> list[Clip]:
    if data is None and captions is not None and audio_folder is not None:
        folder = AudioFolder(audio_folder)
        files = [captions] if isinstance(captions, str) else captions
        return [clip for file in files for clip in read_captions(file, folder)]
    if captions is not None or audio_folder is not None or data is None:
        raise ConfigurationError(
            "expected either captions and audio_folder, or data, got "
            f"captions {captions}, audio_folder {audio_folder}, data {type(data).__name__ if data else None}"
        )
    if not isinstance(data, RecordingsDataModule):
        raise ConfigurationError(f"expected a datamodule of recordings as data, got {type(data).__name__}")
    splits = [split for split in ("train", "val", "test") if data.has_split(split)]
    if not splits:
        raise ConfigurationError(f"{type(data).__name__} has no clips: name a split in its options")
    return [clip for split in splits for clip in data.read_clips(split)]


def other_lengths(clips: Sequence[Clip], examined: Sequence[Examined]) -> list[str]:
    """Clips that are not as long as their caption file states, as one sentence, or none."""
    found = []
    for clip, one in zip(clips, examined, strict=True):
        if clip.length is None or not one.sample_rate or clip.length == one.frames:  # in samples
            continue
        seconds = one.frames / one.sample_rate
        if abs(seconds - clip.length) > max(LENGTH_SLACK, LENGTH_SHARE * clip.length):
            found.append(f"{clip.id} ({clip.length:g} s stated, {seconds:.2f} s in the file)")
    if not found:
        return []
    return [f"{len(found)} clips have another length than the caption file states, such as {', '.join(found[:3])}"]


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

"""Warnings of copies, which make values too good, and of silent, distorted, cut and padded sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from consistency_tta.audio.sound_file import read_whole
from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding, Pair, is_silent, prepare
from consistency_tta.evaluation.copies import COPY, SHARE, copied_share, copies_among, correlation, descriptor, groups
from consistency_tta.evaluation.protocol import AudioSettings

#: Seconds that are cut or padded without a warning, and as a share of the protocol's length; the smaller counts.
LONGER, LONGER_SHARE = 0.5, 0.1
#: Clips that a warning names.
NAMED = 3
#: Share of the samples at the largest magnitude from which a sound is clipped; sine waves have less than 0.02.
CLIPPED = 0.02
#: Magnitudes that no sound of full scale 1 has, and that leave a sound nearly silent (-50 dB).
LOUDEST, QUIET = 4.0, 10 ** (-50 / 20)


def sound_warnings(pairs: Sequence[Pair], audio: AudioSettings, num_threads: int = 4) -> list[str]:
    """Warnings of generated sounds that are references, of sounds that several clips share, and of odd ones.

    Sounds are compared as the protocol prepares them. A copy of another gain, sign, sample rate or file format is
    found, and one that is shifted in time; see :mod:`consistency_tta.evaluation.copies`.

    Args:
        pairs: whose files can be read.
        audio: the protocol's settings.
        num_threads: files decoded at a time.
    """
    # Threads, not processes: libsndfile does the work and does not hold Python's lock.
    with ThreadPoolExecutor(num_threads) as pool:
        compared = list(pool.map(partial(_compare, audio=audio), pairs))
    return [*_own_references(pairs, compared), *_shared_sounds(pairs, compared), *_odd_sounds(pairs, compared, audio)]


class _Facts(NamedTuple):
    """Of one sound: a descriptor, its length in seconds, its largest magnitude, and whether it is clipped."""

    descriptor: Tensor
    seconds: float
    peak: float
    clipped: bool


class _Compared(NamedTuple):
    """The two sounds of a pair: the facts of each, their correlation, and the share of parts that are copied."""

    sides: dict[str, _Facts]
    correlation: float
    share: float


def _own_references(pairs: Sequence[Pair], compared: Sequence[_Compared]) -> list[str]:
    found = []
    whole = [pair.id for pair, one in zip(pairs, compared, strict=True) if one.correlation > COPY]
    if whole:
        found.append(
            f"{len(whole)} of {len(pairs)} generated sounds are their own reference ({named(whole)}): values that "
            "count them do not measure a model"
        )
    parts = [
        pair.id for pair, one in zip(pairs, compared, strict=True) if one.share >= SHARE and not one.correlation > COPY
    ]
    if parts:
        found.append(
            f"{len(parts)} of {len(pairs)} generated sounds have parts of their own reference ({named(parts)}): values "
            "that count them do not measure a model"
        )
    return found


def _shared_sounds(pairs: Sequence[Pair], compared: Sequence[_Compared]) -> list[str]:
    if not pairs:
        return []
    found = []
    rows = {side: torch.stack([one.sides[side].descriptor for one in compared]) for side in (GENERATED, REFERENCE)}
    alike = {side: copies_among(several, several) for side, several in rows.items()}
    for side in rows:
        shared = [[pairs[k].id for k in group] for group in groups(alike[side])]
        if shared:
            texts = [" = ".join(ids[:NAMED]) + (" = ..." if len(ids) > NAMED else "") for ids in shared]
            found.append(f"{sum(map(len, shared))} {side} sounds are another clip's sound too ({named(texts)})")
    names = []
    for own, others in enumerate(copies_among(rows[GENERATED], rows[REFERENCE])):
        taken = set(others) - {own, *alike[REFERENCE][own]}
        if taken and own not in others:
            names.append(f"{pairs[own].id} is {pairs[min(taken)].id}'s")
    if names:
        found.append(f"{len(names)} generated sounds are the references of other clips ({named(names)})")
    return found


def _odd_sounds(pairs: Sequence[Pair], compared: Sequence[_Compared], audio: AudioSettings) -> list[str]:
    length, slack = f"the protocol's {audio.seconds:g} s", min(LONGER, LONGER_SHARE * audio.seconds)
    silent = "are nearly silent, below -50 dBFS: " + (
        "scaled up to the protocol's peak, they are mostly noise" if audio.peak else "check how they were written"
    )
    kinds: dict[str, Callable[[_Facts], bool]] = {
        f"are cut to {length}": lambda facts: facts.seconds > audio.seconds + slack,
        f"are shorter than {length} and end with silence": lambda facts: facts.seconds < audio.seconds - slack,
        "have many samples at their largest magnitude, as clipped sounds have": lambda facts: facts.clipped,
        silent: lambda facts: 0 < facts.peak < QUIET,
    }
    if audio.peak is None:
        kinds["exceed full scale, 1, more than four times: check how they were written"] = lambda facts: (
            facts.peak > LOUDEST
        )
    found = []
    for kind, applies in kinds.items():
        for side in (GENERATED, REFERENCE):
            names = [pair.id for pair, one in zip(pairs, compared, strict=True) if applies(one.sides[side])]
            if names:
                found.append(f"{len(names)} {side} sounds {kind} ({named(names)})")
    return found


def _compare(pair: Pair, audio: AudioSettings) -> _Compared:
    sounds, facts = {}, {}
    for side in (GENERATED, REFERENCE):
        whole = read_whole(pair.sides[side])
        sounds[side] = prepare(whole, audio)
        own = whole.waveform - whole.waveform.mean()
        peak = 0.0 if is_silent(own) else float(whole.waveform.abs().max())
        clipped = bool(peak > 0.1 and (whole.waveform.abs() > 0.99995 * peak).double().mean() > CLIPPED)
        facts[side] = _Facts(descriptor(sounds[side]), len(own) / whole.sample_rate, peak, clipped)
    generated, reference = sounds[GENERATED], sounds[REFERENCE]
    if is_silent(generated) or is_silent(reference):
        return _Compared(facts, 0.0, 0.0)
    likeness, shift = correlation(generated, reference)
    share = max(copied_share(generated, reference, by) for by in {0, shift})
    return _Compared(facts, likeness, share)


def silence_warnings(findings: Sequence[Finding], number: int) -> list[str]:
    """Warnings of silent sounds, which metrics of embeddings count as any other.

    Args:
        findings: of the sounds that were used.
        number: of clips that were used.
    """
    warnings = []
    for side in (GENERATED, REFERENCE):
        silent = [finding.id for finding in findings if finding.side == side and finding.reason == "silent"]
        if silent:
            warnings.append(f"{len(silent)} of {number} {side} sounds are silent, and count ({named(silent)})")
    return warnings


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

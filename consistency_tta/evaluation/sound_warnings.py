"""Warnings of copies, which make values too good, of silent sounds, and of sounds that are cut."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding, Pair, read_sound
from consistency_tta.evaluation.protocol import AudioSettings

#: Two sounds whose difference has less than this share of their power are one, saved twice.
SAME = 1e-4
#: Seconds that are cut without a warning.
LONGER = 0.5
#: Clips that a warning names.
NAMED = 3


def sound_warnings(pairs: Sequence[Pair], audio: AudioSettings, num_threads: int = 4) -> list[str]:
    """Warnings of generated sounds that are references, of sounds that several clips share, and of cut ones.

    Sounds are compared as the protocol prepares them, so that another sample rate or file format hides nothing of a
    copy within a clip. Across clips only equal samples are found.

    Args:
        pairs: whose files can be read.
        audio: the protocol's settings.
        num_threads: files decoded at a time.
    """
    # Threads, not processes: libsndfile does the work and does not hold Python's lock.
    with ThreadPoolExecutor(num_threads) as pool:
        compared = list(pool.map(partial(_compare, audio=audio), pairs))
    found = []
    copies = [pair.id for pair, sounds in zip(pairs, compared, strict=True) if sounds.same]
    if copies:
        found.append(
            f"{len(copies)} of {len(pairs)} generated sounds are their own reference ({named(copies)}): values that "
            "count them do not measure a model"
        )
    users: dict[str, defaultdict[str, list[str]]] = {side: defaultdict(list) for side in (GENERATED, REFERENCE)}
    for pair, each in zip(pairs, compared, strict=True):
        for side, digest in each.digests.items():
            users[side][digest].append(pair.id)
    for side, sounds in users.items():
        shared = [ids for ids in sounds.values() if len(ids) > 1]
        if shared:
            groups = [" = ".join(ids[:NAMED]) + (" = ..." if len(ids) > NAMED else "") for ids in shared]
            found.append(f"{sum(map(len, shared))} {side} sounds are another clip's sound too ({named(groups)})")
    taken = {
        own: other
        for digest, ids in users[GENERATED].items()
        for own in ids
        for other in users[REFERENCE].get(digest, [])
        if own not in users[REFERENCE][digest]
    }
    if taken:
        names = [f"{own} is {other}'s" for own, other in taken.items()]
        found.append(f"{len(taken)} generated sounds are the references of other clips ({named(names)})")
    for side in (GENERATED, REFERENCE):
        cut = [
            pair.id for pair, each in zip(pairs, compared, strict=True) if each.seconds[side] > audio.seconds + LONGER
        ]
        if cut:
            found.append(f"{len(cut)} {side} sounds are cut to the protocol's {audio.seconds:g} s ({named(cut)})")
    return found


class _Compared(NamedTuple):
    """The two sounds of a pair: whether they are the same, the SHA-256 and the length in seconds of each."""

    same: bool
    digests: dict[str, str]
    seconds: dict[str, float]


def _compare(pair: Pair, audio: AudioSettings) -> _Compared:
    read = {side: read_sound(pair.sides[side], audio) for side in (GENERATED, REFERENCE)}
    sounds = {side: sound for side, (sound, _, _) in read.items()}
    generated, reference = sounds[GENERATED].double(), sounds[REFERENCE].double()
    power = reference.square().sum()
    same = bool(power > 0 and (generated - reference).square().sum() < SAME * power)
    digests = {side: hashlib.sha256(sound.numpy().tobytes()).hexdigest() for side, sound in sounds.items()}
    return _Compared(same, digests, {side: seconds for side, (_, _, seconds) in read.items()})


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

"""What raters get on one screen: the sounds of a caption, made equal and in random order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from consistency_tta.listening.clips import ListeningClip
from consistency_tta.listening.key import Item, Mode
from consistency_tta.listening.sounds import cut_to_shortest, lost_to_cutting, low_pass, match_loudness, read
from consistency_tta.reporting.data_uri import audio_uri

#: The name of the low-passed reference among the systems.
ANCHOR = "low-pass anchor"


@dataclass(frozen=True)
class Preparation:
    """How the sounds of a caption are made equal.

    Attributes:
        sample_rate: in Hz.
        seconds: the longest a sound may be, or None.
        loudness: in LUFS, or None to leave levels as they are.
        reference: the system that is also shown openly, or None.
        anchor: whether to add the reference, low-passed.
    """

    sample_rate: int
    seconds: float | None
    loudness: float | None
    reference: str | None
    anchor: bool

    def apply(self, sounds: dict[str, Tensor]) -> dict[str, Tensor]:
        """Waveforms (samples,) by system, cut, with the anchor and at one loudness."""
        sounds = cut_to_shortest(sounds, self.sample_rate, self.seconds)
        if self.anchor and self.reference is not None:
            sounds[ANCHOR] = low_pass(sounds[self.reference], self.sample_rate)
        return sounds if self.loudness is None else match_loudness(sounds, self.sample_rate, self.loudness)


@dataclass
class Trials:
    """The trials of a test.

    Attributes:
        shown: for the page, in random order; see :func:`consistency_tta.listening.form.form`.
        items: for the key, by the random names that the page has.
        cut: captions that lost much, with the lengths of their shortest and longest sound.
    """

    shown: list[dict[str, Any]] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)


def make_trials(
    clips: Sequence[ListeningClip], mode: Mode, preparation: Preparation, random: np.random.Generator
) -> Trials:
    """Read the sounds of clips and lay them out.

    Args:
        clips: with files of every system.
        mode: rating has a trial for each sound, comparison one for each clip.
        preparation: of the sounds.
        random: generator of the order and of the names.

    Raises:
        DataError: a sound cannot be used.
    """
    trials = Trials()
    for clip in clips:
        whole = read(clip.files, preparation.sample_rate)
        if lost := lost_to_cutting(whole, preparation.sample_rate, preparation.seconds):
            trials.cut.append(f"{clip.name} ({lost})")
        sounds = preparation.apply(whole)
        addresses = {system: audio_uri(sound, preparation.sample_rate) for system, sound in sounds.items()}
        shown = []
        for system in random.permutation(list(sounds)).tolist():
            name = random.bytes(6).hex()
            trials.items[name] = Item(system, clip.name, clip.caption)
            shown.append({"id": name, "sound": addresses[system]})
        if mode == "rating":
            trials.shown += [{"caption": clip.caption, "items": [item]} for item in shown]
        else:
            reference = preparation.reference
            openly = {} if reference is None else {"reference": addresses[reference]}
            trials.shown.append({"caption": clip.caption, "items": shown, **openly})
    trials.shown = [trials.shown[index] for index in random.permutation(len(trials.shown))]
    return trials

"""Checks of the raters, whose failures the experimenter should look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consistency_tta.listening.answers import Answers
from consistency_tta.listening.key import Key

#: Recommendation ITU-R BS.1534-3, "Method for the subjective assessment of intermediate quality level of audio
#: systems", 2015, https://www.itu.int/rec/R-REC-BS.1534, post-screening of assessors: who gives the hidden reference
#: less than 90 in more than 15 % of the items is left out.
LEAST_FOR_REFERENCE, SHARE = 90, 0.15


@dataclass(frozen=True)
class Failure:
    """A check that a rater failed.

    Attributes:
        rater: name.
        check: which.
        detail: what was found.
    """

    rater: str
    check: str
    detail: str


def screen(answers: Sequence[Answers], key: Key) -> list[Failure]:
    """The checks that raters fail: sounds not rated, not played, one score for all, hidden reference not found."""
    failures = []
    for one in answers:

        def fail(check: str, detail: str, rater: str = one.rater) -> None:
            failures.append(Failure(rater, check, detail))

        if missing := len(key.items) - len(one.items):
            fail("incomplete", f"{missing} of {len(key.items)} sounds are not rated")
        if unplayed := sum(rated.plays == 0 for rated in one.items.values()):
            fail("not played", f"{unplayed} of {len(one.items)} rated sounds were never played to the end")
        for scale in key.scales:
            values = {rated.scores[scale.name] for rated in one.items.values()}
            if len(one.items) > 1 and len(values) == 1:
                fail("one value", f"{scale.name} is {values.pop()} for all {len(one.items)} sounds")
        if key.reference is not None:
            (scale,) = key.scales
            scores = [
                rated.scores[scale.name] for name, rated in one.items.items() if key.items[name].system == key.reference
            ]
            low = sum(score < LEAST_FOR_REFERENCE for score in scores)
            if low > SHARE * len(scores):
                fail("hidden reference", f"less than {LEAST_FOR_REFERENCE} in {low} of {len(scores)} comparisons")
    return failures

"""What can be wrong with a clip, and the error that reports it."""

from __future__ import annotations

from enum import StrEnum

from consistency_tta.runtime.errors import DataError


class Fault(StrEnum):
    """What can be wrong with a clip."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_SHORT = "too short"
    NOT_FINITE = "not finite"
    SILENT = "silent"
    CANCELLED = "channels cancel"


class BadClip(DataError):  # noqa: N818 - a finding, counted or listed, before it is an error
    """A clip that cannot be used.

    Args:
        fault: of which kind.
        detail: what was found, as a sentence.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail

    def __reduce__(self) -> tuple:
        return type(self), (self.fault, self.detail)  # so that it comes out of a worker process whole

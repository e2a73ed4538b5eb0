"""How far what a written graph computes is from what torch computes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from consistency_tta.runtime.errors import ExportError


@dataclass(frozen=True)
class Difference:
    """Of two outputs.

    Attributes:
        largest: absolute difference.
        scale: the largest absolute value of torch's output.
    """

    largest: float
    scale: float

    @classmethod
    def between(cls, got: Tensor, expected: Tensor) -> Difference:
        """Of an output and torch's, of the same shape.

        Raises:
            ExportError: if the shapes differ.
        """
        if got.shape != expected.shape:
            raise ExportError(f"expected an output {tuple(expected.shape)}, as torch's, got {tuple(got.shape)}")
        return cls(float((got - expected).abs().max()), float(expected.abs().max()))

    def __str__(self) -> str:
        return f"{self.largest:.1e} of {self.scale:.2g}"

    def check(self, name: str, tolerance: float) -> None:
        """Raise if it is over a tolerance.

        Args:
            name: of the graph.
            tolerance: the most that is accepted, relative to ``scale``.

        Raises:
            ExportError: if it is more, or not a number.
        """
        if not self.largest <= tolerance * self.scale:
            raise ExportError(
                f"expected {name} to agree with torch within {tolerance:g} of its largest value, got {self}: give a "
                "higher --tolerance if that is good enough"
            )

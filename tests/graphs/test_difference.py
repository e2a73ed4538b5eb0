"""Differences: absolute, next to the size of what they are differences of."""

from __future__ import annotations

import math

import pytest
import torch

from consistency_tta.graphs.difference import Difference
from consistency_tta.runtime.errors import ExportError


def test_the_largest_difference_counts() -> None:
    difference = Difference.between(torch.tensor([1.0, -4.5]), torch.tensor([1.25, -4.0]))
    assert difference == Difference(0.5, 4.0)
    difference.check("text", 0.125)
    with pytest.raises(ExportError, match="text"):
        difference.check("text", 0.12)


def test_what_is_no_number_or_of_another_shape_is_an_error() -> None:
    with pytest.raises(ExportError):
        Difference.between(torch.tensor([math.nan]), torch.ones(1)).check("text", 10.0)
    with pytest.raises(ExportError):
        Difference.between(torch.ones(1, 2), torch.ones(2))

"""An argument of another class is named."""

from __future__ import annotations

import pytest
from torch import nn

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.kinds import require_kind


def test_what_is_no_object_of_the_class_is_named() -> None:
    require_kind("network", nn.Linear(1, 1), nn.Module)
    with pytest.raises(ConfigurationError, match="network, got 'text'"):
        require_kind("network", "text", nn.Module)
    with pytest.raises(ConfigurationError, match="the class Linear: call it"):
        require_kind("network", nn.Linear, nn.Module)

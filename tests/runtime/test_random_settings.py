"""In settings of any shape a class of an unknown author is found; what is old in them is read as today."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consistency_tta.runtime.errors import UntrustedClassError
from consistency_tta.runtime.trusted_class import check_settings
from consistency_tta.training.earlier_versions import upgrade_config
from tests.strategies import configurations

FOREIGN = {"class_path": "subprocess.Popen"}
#: How the class is named: as an object, in YAML or JSON, or by a bare path.
PLANTED: list[Any] = [FOREIGN, "subprocess.Popen", yaml.safe_dump([FOREIGN]), json.dumps({"a": json.dumps(FOREIGN)})]


@given(configurations(st.sampled_from(PLANTED)), st.sampled_from(PLANTED))
def test_a_planted_class_is_found_wherever_it_is(settings: Any, planted: Any) -> None:
    with pytest.raises(UntrustedClassError, match=r"subprocess\.Popen"):
        check_settings({"a": settings, "b": [{"c": planted}]}, Path("a.ckpt"))


@given(configurations())
def test_any_settings_are_checked_and_upgraded_without_a_crash(settings: Any) -> None:
    with suppress(UntrustedClassError):
        check_settings(settings, Path("a.ckpt"))
    config = {"model": {"class_path": "consistency_tta.training.ConsistencyDistillation", "init_args": settings}}
    before = repr(config)
    assert "model" in upgrade_config(config)
    assert repr(config) == before

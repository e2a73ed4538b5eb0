"""bfloat16 only where it is fast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.precision import fastest_precision, inference_dtype

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")],
)
def test_the_processor_decides(capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: capabilities.get("avx512_bf16", False))
    assert fastest_precision() == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_an_accelerator_decides(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert fastest_precision() == expected


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_generation_uses_it_by_default(native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": native}, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert inference_dtype("auto", torch.device("cpu")) == expected
    assert inference_dtype("auto", torch.device("meta")) == torch.float32
    assert inference_dtype("float16", torch.device("cpu")) == torch.float16
    with pytest.raises(ConfigurationError, match="int8"):
        inference_dtype("int8", torch.device("cpu"))


@pytest.mark.parametrize("recipe", sorted((ROOT / "lightning_configs" / "tiny").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_for_two_cores_ask_for_it(recipe: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    if "data" in content:  # else it is laid over another
        assert content["trainer"]["precision"] == "${fastest_precision:}"

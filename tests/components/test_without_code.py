"""A text encoder or CLAP of an unknown author runs no code of its own, whatever is typed on the terminal."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from consistency_tta.components.clap_model import load_clap
from consistency_tta.components.networks import clap
from consistency_tta.components.text import PretrainedTextEncoder
from consistency_tta.runtime.errors import UntrustedClassError
from tests.untrusted import Untrusted


@pytest.fixture
def untrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Untrusted:
    """Whoever asks on the terminal gets yes for an answer."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 10))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return Untrusted(tmp_path / "foreign", monkeypatch)


def bring_code(folder: Path, untrusted: Untrusted, file: str, kind: str) -> None:
    """Have a folder name a class of its own file."""
    content = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    content |= {"auto_map": {kind: ["code.Network", None] if kind == "AutoTokenizer" else "code.Network"}}
    content |= {"model_type": "unheard-of"} if kind == "AutoConfig" else {"tokenizer_class": "Network"}
    (folder / file).write_text(json.dumps(content))
    (folder / "code.py").write_text(untrusted.source)


@pytest.mark.parametrize(("file", "kind"), [("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")])
def test_a_text_encoder_with_code_is_refused(
    file: str, kind: str, teacher_folder: Path, untrusted: Untrusted, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(teacher_folder / "text_encoder", tmp_path / "downloaded"))
    shutil.copytree(teacher_folder / "tokenizer", folder, dirs_exist_ok=True)
    PretrainedTextEncoder(str(folder))
    bring_code(folder, untrusted, file, kind)
    with pytest.raises(UntrustedClassError, match="downloaded"):
        PretrainedTextEncoder(str(folder))
    assert not untrusted.ran


def test_a_clap_with_code_is_refused(untrusted: Untrusted, tmp_path: Path) -> None:
    folder = tmp_path / "downloaded"
    clap(depths=[1, 1, 1], channels=8, text_width=16, text_layers=1).save_pretrained(folder)
    bring_code(folder, untrusted, "tokenizer_config.json", "AutoTokenizer")
    with pytest.raises(UntrustedClassError, match="downloaded"):
        load_clap(folder)
    assert not untrusted.ran

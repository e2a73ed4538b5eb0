"""Which settings name a class that is not trusted: ``test_untrusted_checkpoints.py`` has those that run something."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.runtime.errors import UntrustedClassError
from consistency_tta.runtime.trusted_class import LARGEST_SETTINGS, check_settings, trusted_class
from tests.untrusted import Untrusted

FILE = Path("a.ckpt")
REFUSED: list[dict[str, Any]] = [
    {"class_path": "not_installed.Network"},  # on another machine it may be
    {"class_path": "no identifier.Network"},
    {"class_path": "consistency_tta.storage.folder_lock.os"},
    {"class_path": "transformers.BatchEncoding"},  # a library's class that is no network
    {"a": "transformers.BatchEncoding"},
    {"a": "numpy.load"},
    {"a": "foreign.Network"},
    {"a": "foreign.Network.from_pretrained"},
    {"a": "scattered.foreign.Network"},
    {"a": "scattered.foreign.Network.from_pretrained"},
]
TAKEN: list[dict[str, Any]] = [
    {"class_path": "diffusers.AutoencoderKL"},
    {"class_path": "Network"},  # of those that are imported
    {"a": "rain.wav"},
    {"a": "os.nothing"},
    {"a": "nowhere.Network"},
    {"a": "nowhere.part.Network"},
    {"a": "scattered.nothing.Network"},
    {"a": "scattered.nothing.part.Network"},
    {"a": "consistency_tta.storage.folder_lock.os"},  # a module is not called
]


@pytest.mark.parametrize("settings", REFUSED, ids=str)
def test_what_may_be_called_and_is_not_trusted_is_refused(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrusted = Untrusted(tmp_path / "foreign", monkeypatch)
    with pytest.raises(UntrustedClassError, match=FILE.name):
        check_settings(settings, FILE)
    assert not untrusted.ran


@pytest.mark.parametrize("settings", TAKEN, ids=str)
def test_what_runs_nothing_is_taken(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untrusted = Untrusted(tmp_path / "foreign", monkeypatch)
    check_settings(settings, FILE)
    assert not untrusted.ran


@pytest.mark.parametrize("content", ["a: self.yaml", "a: ../../SELF/self.yaml", "a: other.yaml", "a\0b", b"\xff: b"])
def test_files_that_name_themselves_or_are_no_text_are_read_once(
    content: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    content = content.encode() if isinstance(content, str) else content
    (folder / "self.yaml").write_bytes(content.replace(b"SELF", b"one/two"))
    (folder / "other.yaml").write_text("[self.yaml, ../two/self.yaml, {class_path: diffusers.UNet2DModel}]")
    monkeypatch.chdir(folder)
    check_settings({"a": "self.yaml"}, FILE)


@pytest.mark.parametrize("size", [LARGEST_SETTINGS, LARGEST_SETTINGS + 1])
def test_a_file_that_is_too_large_to_be_looked_through_is_refused(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.yaml").write_text("#" * size)
    monkeypatch.chdir(tmp_path)
    with nullcontext() if size == LARGEST_SETTINGS else pytest.raises(UntrustedClassError, match=r"large\.yaml"):
        check_settings({"a": "large.yaml"}, FILE)


def test_the_class_itself_must_be_trusted_and_the_hint_names_its_module() -> None:
    assert trusted_class("consistency_tta.runtime.frozen.Frozen", object, FILE).__name__ == "Frozen"
    for path, module in (("elsewhere.part.Network", "elsewhere.part"), ("Network", "Network")):
        with pytest.raises(UntrustedClassError, match=rf"--trust {module} "):
            trusted_class(path, object, FILE)
    with pytest.raises(UntrustedClassError, match=r"contextlib\.suppress"):
        trusted_class("consistency_tta.storage.folder_lock.suppress", object, FILE)

"""Values that the parser changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonargparse import Namespace

from consistency_tta.cli.parser import Parser, with_home


def test_the_home_folder_is_found_where_no_shell_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    kept = {"a": ["~", "a ~/b", 3, None, "~other/x"]}
    assert with_home(kept) == kept
    found = with_home(Namespace(one=Namespace(a="~/x", b=Path("~/y")), two=[{"c": "~/z"}], three="~/"))
    assert found == Namespace(
        one=Namespace(a="/home/me/x", b=Path("/home/me/y")), two=[{"c": "/home/me/z"}], three="/home/me/"
    )


def test_options_and_configurations_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.yaml").write_text("one: ~/in file\nroot: ~/r\nbelow: ${root}/s\n")
    parser = Parser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    for name in ("one", "two", "root", "below"):
        parser.add_argument(f"--{name}", type=str)
    parsed = parser.parse_args(["--config", str(tmp_path / "a.yaml"), "--two=~/behind"])
    assert [parsed[name] for name in ("one", "two", "below")] == [
        f"{tmp_path}/in file",
        f"{tmp_path}/behind",
        f"{tmp_path}/r/s",
    ]

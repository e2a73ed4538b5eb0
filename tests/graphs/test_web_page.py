"""The page's folder has the page's files and those of npm, whatever else their archives hold."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from consistency_tta.graphs import web_page
from consistency_tta.graphs.web_page import PACKAGES, PAGE, write_page
from consistency_tta.runtime.errors import MissingExtraError


def archive(package: str, folder: Path) -> Path:
    """As npm packs a package."""
    file = folder / "package.tgz"
    with tarfile.open(file, "w:gz") as packed:
        for name in (*PACKAGES[package], "../../outside.js"):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(package)
            packed.addfile(entry, io.BytesIO(package.encode()))
    return file


def test_the_folder_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_page, "_fetch", archive)
    write_page(tmp_path / "page")
    wanted = {file for files in PACKAGES.values() for file in files}
    assert {file.name for file in (tmp_path / "page" / "vendor").iterdir()} == wanted
    own = {file.name for file in (tmp_path / "page").iterdir() if file.is_file()}
    assert own == {file.name for file in PAGE.iterdir()}
    assert "index.html" in own
    assert not list(tmp_path.rglob("outside.js"))


def test_without_npm_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="npm"):
        write_page(tmp_path / "page")

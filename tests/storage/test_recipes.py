"""Recipes are found by name, and copied with the files they name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.recipes import (
    copy_recipe,
    is_file,
    nearest_recipe,
    recipe_summary,
    recipes,
    resolve_recipe,
)


@pytest.mark.parametrize("name", ["tiny/clap", "tiny/clap.yaml", "lightning_configs/tiny/clap.yaml"])
def test_a_recipe_is_found_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = yaml.safe_load(Path(resolve_recipe(name)).read_text())
    assert found["trainer"]["default_root_dir"] == "runs/tiny/clap"


def test_a_file_of_the_users_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/demo.yaml").write_text("{}")
    assert resolve_recipe("tiny/demo.yaml") == "tiny/demo.yaml"
    assert Path(resolve_recipe("tiny/demo")) == recipes()["tiny/demo"]
    assert resolve_recipe("tiny/other.yaml") == "tiny/other.yaml"
    long = "a: 1\n" * 1000  # YAML in the place of a file
    assert resolve_recipe(long) == long
    assert not is_file(long)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("demo", "tiny/demo"), ("tiny/consistensy", "tiny/consistency"), ("my/demo.yaml", "tiny/demo"), ("qqq", None)],
)
def test_the_nearest_name(wrong: str, right: str | None) -> None:
    assert nearest_recipe(wrong) == right


def test_every_recipe_has_a_line_that_describes_it() -> None:
    descriptions = [recipe_summary(file) for file in recipes().values()]
    assert min(map(len, descriptions)) > 20
    assert len(set(descriptions)) == len(descriptions)


def test_a_copy_has_the_files_that_the_recipe_names(tmp_path: Path) -> None:
    copies = copy_recipe("tiny/demo", tmp_path / "new" / "mine")
    assert [file.name for file in copies] == ["demo.yaml", "esc10_captions.txt"]
    assert copies[0].read_bytes() == recipes()["tiny/demo"].read_bytes()
    assert len(copies[1].read_text().splitlines()) > 10
    with pytest.raises(FileExistsError, match=r"demo\.yaml"):
        copy_recipe("tiny/demo", tmp_path / "new" / "mine")
    assert copy_recipe("tiny/clap", tmp_path / "new" / "mine")[0].is_file()
    with pytest.raises(NotADirectoryError, match=r"clap\.yaml"):
        copy_recipe("tiny/demo", tmp_path / "new" / "mine" / "clap.yaml")


def test_a_family_is_copied_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").touch()
    with pytest.raises(FileExistsError, match=r"metrics\.yaml"):
        copy_recipe("tiny", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    names = {file.stem for file in copy_recipe("tiny/", tmp_path / "all")}
    assert names == {name.removeprefix("tiny/") for name in recipes() if name.startswith("tiny/")} | {"esc10_captions"}


def test_copying_what_is_no_recipe_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="tiny/demo"):
        copy_recipe("tiny/dmeo", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()

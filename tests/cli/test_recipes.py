"""Recipes on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.cli import main
from consistency_tta.cli.config_files import find_recipes
from consistency_tta.cli.parser import Parser, set_up_parsing
from consistency_tta.cli.training_options import check_nested
from consistency_tta.storage.recipes import recipes


def test_names_stand_for_files_after_config_alone() -> None:
    demo = str(recipes()["tiny/demo"])
    args = [
        "fit",
        "--config",
        "tiny/demo",
        "--config=tiny/demo.yaml",
        "-c",
        "tiny/demo",
        "--x",
        "tiny/demo",
        "-ctiny/demo",
        "-c",
    ]
    expected = ["fit", "--config", demo, f"--config={demo}", "-c", demo, "--x", "tiny/demo", f"-c={demo}", "-c"]
    assert find_recipes(args) == expected


@pytest.mark.parametrize(
    "given",
    [
        "{trainer: {max_steps: 3}}",
        "trainer:\n  max_steps: 3",
        "{trainer: {max_steps: 3" + 300 * " " + "}}",  # longer than any file's name
    ],
)
def test_what_is_no_files_name_is_left_to_the_parser(given: str) -> None:
    assert find_recipes(["--config", given]) == ["--config", given]
    check_nested(["fit", "--config", given])


@pytest.mark.parametrize("words", [["--config", "{}"], ["--config={}"], ["-c{}"]])
@pytest.mark.parametrize("command", ["fit", "plan", "generate"])
def test_an_address_is_refused(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What the file says could not be compared with options before it, nor is it read by a person."""
    with pytest.raises(SystemExit, match="2"):
        main([command, *(word.format("s3://bucket/x.yaml") for word in words)])
    assert "s3:/" in (error := capsys.readouterr().err)
    assert "download" in error


def test_a_name_that_is_no_file_and_no_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, hint in (
        ("tiny/demoo", "tiny/demo?"),
        (str(tmp_path), "consistency-tta recipes"),
        ("x" * 300, "not there"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["fit", "--config", name])
        error = capsys.readouterr().err
        assert name in error
        assert hint in error


def test_the_command_lists_and_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(recipes())
    main(["recipes", "copy", "tiny/metrics", str(tmp_path)])
    assert capsys.readouterr().out.split() == [str(tmp_path / "metrics.yaml")]


def test_a_value_names_a_file_next_to_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files with folders of their own, one of them given relative to the current folder."""
    set_up_parsing()
    parser = Parser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--first", type=str)
    parser.add_argument("--second", type=str)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.yaml").write_text(f"{name}: ${{recipe_folder:}}/a.txt")
    monkeypatch.chdir(tmp_path)
    found = parser.parse_args(["--config", "first/x.yaml", "--config", str(tmp_path / "second/x.yaml")])
    assert (found.first, found.second) == (str(tmp_path / "first/a.txt"), str(tmp_path / "second/a.txt"))

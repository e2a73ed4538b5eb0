"""Parsers of Lightning's subcommands."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.cli import LightningCLI

from consistency_tta.cli import main


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["validate", "--print_config"], ["validate"]),
        (["--print_config", "test"], ["fit", "validate", "test", "predict"]),  # which one is not known at once
    ],
)
def test_a_subcommand_whose_name_comes_first_is_the_only_one_with_options(
    args: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    filled: list[str] = []
    fill = LightningCLI._prepare_subcommand_parser

    def noted(cli: LightningCLI, klass: type, subcommand: str, **kwargs: Any) -> Any:
        filled.append(subcommand)
        return fill(cli, klass, subcommand, **kwargs)

    monkeypatch.setattr(LightningCLI, "_prepare_subcommand_parser", noted)
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert not stopped.value.code
    assert filled == expected
    assert "ckpt_path: null" in capsys.readouterr().out

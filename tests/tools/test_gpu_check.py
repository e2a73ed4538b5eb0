"""Checks on an accelerator, here on the CPU with the bundled models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tools.failing_checks import dying, endless, raising, steady
from tools.checkout import ROOT, CheckoutFinder
from tools.gpu_check.__main__ import CHECKS, main
from tools.gpu_check.runner import Check, Row, Setting, run_check, table
from tools.gpu_check.trainings import tiny

SETTING = Setting("cpu", quick=True)


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """All checks, with the fewest repetitions."""
    found = [row for check in CHECKS for row in check.run(SETTING)]
    return {row.name: row for row in found}


def test_all_checks_pass_on_a_cpu(rows: dict[str, Row]) -> None:
    assert [row for row in rows.values() if row.bad] == []
    assert [row.name for row in rows.values() if row.status == "not here"] == ["steps that do not wait"]
    assert len(rows) > len(CHECKS)


def test_a_device_agrees_with_itself(rows: dict[str, Row]) -> None:
    assert rows["generation, tiny-student"].numbers == {"latent": 0.0, "sound": 0.0}
    assert rows["step, guidance"].numbers == {"loss": 0.0, "gradient": 0.0}


def test_ratio_is_that_of_the_times(rows: dict[str, Row]) -> None:
    one, four = rows["sound, 1 query"].numbers, rows["sound, 4 queries"].numbers
    assert rows["ratio"].numbers["latents"] == four["latents"] / one["latents"]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row]]:
    """Rows of checks that go wrong, each run in a process of its own."""
    log = tmp_path_factory.mktemp("gpu_check") / "log.txt"
    limits = {steady: 60.0, raising: 60.0, dying: 60.0, endless: 1.0}
    found = {run.__name__: list(run_check(Check(run, 0), SETTING, limit, log)) for run, limit in limits.items()}
    assert "kernel 7 is broken" in log.read_text()
    return found


def test_rows_come_back_from_another_process(failures: dict[str, list[Row]]) -> None:
    assert failures["steady"] == [Row("first", "cpu"), Row("second", numbers={"seconds": 1.0})]


@pytest.mark.parametrize(("name", "status"), [("raising", "ERROR"), ("dying", "ERROR"), ("endless", "TIME")])
def test_a_failure_is_a_row_after_those_before_it(failures: dict[str, list[Row]], name: str, status: str) -> None:
    assert [row.status for row in failures[name]] == ["ok", status]
    assert table("", failures[name]).endswith("2 rows, 1 failed")


def test_what_went_wrong_is_in_the_row(failures: dict[str, list[Row]]) -> None:
    assert "kernel 7 is broken" in failures["raising"][1].value
    assert "9" in failures["dying"][1].value


def test_a_checkout_that_is_not_installed_has_its_plugins() -> None:
    found = CheckoutFinder.find_spec("consistency_tta.losses")
    assert found is not None
    assert found.origin == str(ROOT / "losses" / "__init__.py")
    assert CheckoutFinder.find_spec("consistency_tta.training") is None
    assert CheckoutFinder.find_spec("losses") is None


def test_the_command_writes_its_rows_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "tiny", "--device", "cpu", "--quick", "--check", "machine"]
    assert main([*options, "--output", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "gpu_check.json").read_text())
    assert (row["name"], row["status"]) == ("machine", "ok")
    assert capsys.readouterr().out.endswith("1 rows, 0 failed\n")


def test_distribution_matching_takes_part_in_the_first_step() -> None:
    training = tiny("consistency")
    assert training.module.objective.weight("distribution", 0) == 1
    assert training.trainer["gradient_clip_val"] == 1

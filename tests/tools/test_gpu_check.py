"""Checks on an accelerator, here on the CPU with the bundled models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import pytest
import torch

from consistency_tta.planning.parts import all_modules
from tests.tools.failing_checks import dying, endless, raising, steady
from tools.checkout import ROOT, CheckoutFinder
from tools.gpu_check.__main__ import CHECKS, main
from tools.gpu_check.runner import Check, Row, Setting, run_check, table
from tools.gpu_check.trainings import WithoutRandomWeights, fit, full, tiny

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


def test_random_weights_are_drawn_once_and_all_of_them_are_numbers() -> None:
    before = torch.get_rng_state()
    with WithoutRandomWeights():
        layers = [torch.nn.Linear(3, 4), torch.nn.Conv2d(2, 3, 3), torch.nn.Embedding(2, 2), torch.nn.LayerNorm(4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert not layers[0].bias.any()
    assert layers[3].weight.all()


@contextmanager
def new_memory_is_nan() -> Iterator[None]:
    """Memory that holds NaN where torch promises nothing: what reads it before it writes is found."""
    torch.use_deterministic_algorithms(True)  # on which torch fills it
    assert torch.empty(3).isnan().all()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_recipe_without_its_models_trains_and_generates() -> None:
    torch.manual_seed(0)  # of its random weights
    with new_memory_is_nan():
        training = full("guidance", "cpu", family="tiny")
    tensors = (t for part in all_modules(training.module) for t in (*part.parameters(), *part.buffers()))
    assert all(tensor.isfinite().all() for tensor in tensors)
    before = [p.clone() for p in training.module.parameters()]
    fit(training, [training.batch(1)], 1, SETTING)
    assert any(not torch.equal(p, old) for p, old in zip(training.module.parameters(), before, strict=True))
    pipeline = training.module.pipeline().to("cpu", torch.bfloat16)
    assert pipeline("A dog barks", num_inference_steps=1).audios.isfinite().all()


def required(name: str, found: set[str]) -> set[str]:
    """A distribution, and those installed that it requires."""
    if name not in found:
        with suppress(metadata.PackageNotFoundError):
            needed = metadata.requires(name) or []
            found.add(name)
            for one in (one for one in needed if "extra ==" not in one):
                required(re.split(r"[^\w.-]", one, maxsplit=1)[0].lower().replace("_", "-"), found)
    return found


def test_the_wheels_of_the_documentation_are_enough(tmp_path: Path) -> None:
    (listed,) = re.findall(r"--dest \.whl ([^#]+?)\n    # on", (ROOT / "docs" / "gpu_check.md").read_text())
    there = {one for name in ("torch", "lightning", "transformers") for one in required(name, set())}
    for name in there | set(listed.replace("\\", " ").split()):
        own = {file.parts[0] for file in metadata.files(name) or []} - {".."}
        for part in (part for part in own if not (tmp_path / part).exists()):
            (tmp_path / part).symlink_to(str(metadata.distribution(name).locate_file(part)))
    program = "import tools.gpu_check.__main__; from tools.gpu_check.trainings import tiny; tiny('audio').batch(1)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-800:]


def test_distribution_matching_takes_part_in_the_first_step() -> None:
    training = tiny("consistency")
    assert training.module.objective.weight("distribution", 0) == 1
    assert training.trainer["gradient_clip_val"] == 1

"""The oldest versions that pyproject.toml allows go together with what CI's job `minimum` installs next to them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_nothing_that_the_job_names_refuses_an_oldest_version() -> None:
    script = [sys.executable, ROOT / ".github/minimum_versions.py", ROOT / "pyproject.toml"]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    oldest = dict(line.split("==") for line in printed.splitlines())
    steps = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["minimum"]["steps"]
    [install] = [step["run"] for step in steps if " -e " in step.get("run", "")]
    extras = set(re.search(r"\[(.*)\]", install)[1].split(","))  # type: ignore[index]
    ours = map(Requirement, distribution("consistency-tta").requires or [])
    named = {one.name for one in ours if one.marker and any(one.marker.evaluate({"extra": extra}) for extra in extras)}
    refused = [
        f"{name} wants {wanted}"
        for name in named - oldest.keys()
        for wanted in map(Requirement, distribution(name).requires or [])
        if wanted.name in oldest and oldest[wanted.name] not in wanted.specifier
        if not wanted.marker or wanted.marker.evaluate({"extra": ""})
    ]
    assert len(named) > 5
    assert refused == []

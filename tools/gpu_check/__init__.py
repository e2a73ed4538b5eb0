"""Checks of this project on an accelerator: one call, under eight minutes, no network, nothing to install.

    python -m tools.gpu_check --output OUT                           # networks of full size where time is measured
    python -m tools.gpu_check --size tiny --device cpu --output OUT  # the bundled models; runs anywhere

docs/performance.md tells what each check does, and how to prepare a machine that has no package index.

trainings.py  trainings of the recipes, with the bundled models or with random weights of full size
parity.py     CPU and accelerator compute the same: generation, one step of each training
runs.py       steps do not wait for the device; runs resume bit for bit; NaN is skipped
speed.py      step time and peak memory; one query against 400
runner.py     runs each check in a process of its own, with a time limit; the table
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class CheckoutFinder:
    """Finds ``consistency_tta.losses`` and ``.datamodules`` in a checkout that is not installed.

    They lie at the top of the repository; setuptools maps them into the package when it is installed.
    """

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The package's specification; None for any other."""
        package, _, name = fullname.rpartition(".")
        if package != "consistency_tta" or name not in ("losses", "datamodules"):
            return None
        folder = ROOT / name
        return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])


if find_spec("consistency_tta.losses") is None:
    sys.meta_path.append(CheckoutFinder)

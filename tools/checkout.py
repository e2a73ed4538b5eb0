"""Makes a checkout that is not installed importable: machines with an accelerator often have no package index."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


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

"""Prints the oldest version of each dependency that pyproject.toml allows, as constraints for pip."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
for requirement in project["dependencies"]:
    if found := re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", requirement):
        print(f"{found[1]}=={found[2]}")

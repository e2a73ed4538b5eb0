"""Runs the notebooks; the executed copies are in build/notebooks, where the documentation site finds them.

python -m tools.documentation.run_notebooks [NOTEBOOK ...]
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tools.documentation.notebooks import EXECUTED, FOLDER


def run_notebook(file: Path, executed: Path = EXECUTED) -> Path:
    """Run a notebook in its own folder and write a copy with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises an error; the copy with its traceback is written.
    """
    notebook = nbformat.read(file, as_version=4)
    executed.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": file.parent}}
    )
    try:
        client.execute()
    finally:
        nbformat.write(notebook, executed / file.name)
    return executed / file.name


def main(arguments: list[str]) -> None:
    """Run the notebooks that are named, or all."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("STEPS", "12")  # of the notebook that trains for ten minutes
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for file in [Path(name) for name in arguments] or sorted(FOLDER.glob("*.ipynb")):
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        run_notebook(file.resolve())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{file.name}: {time.perf_counter() - started:.0f} s, {cpu:.0f} s of CPU time", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Runs checks, each in a process of its own that ends with its time; a failure is a row of the table."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What checks run with.

    Attributes:
        device: torch's name.
        full: whether the networks that are timed have full size, with random weights; else the bundled models.
        quick: the fewest repetitions and recipes, for tests.
    """

    device: str
    full: bool = False
    quick: bool = False


@dataclass
class Row:
    """One line of the table.

    Attributes:
        name: what was measured or compared.
        value: with its unit.
        status: ``ok``; ``FAILED``, ``ERROR`` or ``TIME``; or ``not here``, for what the device does not have.
        numbers: for the JSON file.
    """

    name: str
    value: str = ""
    status: str = "ok"
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        """Whether it counts as a failure."""
        return self.status in ("FAILED", "ERROR", "TIME")


@dataclass(frozen=True)
class Check:
    """A function that yields rows, and the seconds it may take."""

    run: Callable[[Setting], Iterator[Row]]
    seconds: float

    @property
    def name(self) -> str:
        """The function's."""
        return self.run.__name__


def passed(name: str, holds: bool, value: str, **numbers: Any) -> Row:
    """The row of a comparison."""
    return Row(name, value, "ok" if holds else "FAILED", numbers)


def run_check(check: Check, setting: Setting, seconds: float, log: Path) -> Iterator[Row]:
    """The rows of a check, as they come.

    Args:
        check: its function is a module's, since another process imports it.
        setting: for it.
        seconds: after which its process is ended.
        log: file to which errors and warnings are added.
    """
    # A server process imports torch once and is forked for each check: CUDA must not be in use before a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([check.run.__module__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_rows, args=(check, setting, sender, log))
    deadline = time.monotonic() + seconds
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, deadline - time.monotonic())):
            row = receiver.recv()
            if row is None:
                process.join(10)
                return
            yield row
        yield Row(check.name, f"ended after {seconds:.0f} s", "TIME")
    except EOFError:
        process.join()
        yield Row(check.name, f"its process ended with {process.exitcode}", "ERROR")
    finally:
        process.kill()
        process.join()


def table(title: str, rows: Sequence[Row]) -> str:
    """One line a row, and last how many failed."""
    width = max((len(row.name) for row in rows), default=0)
    lines = [title, *(f"{row.status:8}  {row.name:{width}}  {row.value}".rstrip()[:150] for row in rows)]
    return "\n".join([*lines, f"{len(rows)} rows, {sum(row.bad for row in rows)} failed"])


def _send_rows(check: Check, setting: Setting, sender: Connection, log: Path) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        for row in check.run(setting):
            sender.send(row)
    except Exception as error:
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = str(error).strip().partition("\n")[0]
        sender.send(
            Row(check.name, f"{type(error).__name__}: {message} ({Path(place.filename).name}:{place.lineno})", "ERROR")
        )
    sender.send(None)

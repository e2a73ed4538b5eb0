"""Checks that go wrong; another process imports them, so they import nothing large."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from tools.gpu_check.runner import Row, Setting


def steady(setting: Setting) -> Iterator[Row]:
    """Goes well."""
    yield Row("first", setting.device)
    yield Row("second", numbers={"seconds": 1.0})


def raising(_: Setting) -> Iterator[Row]:
    """Raises."""
    yield Row("before")
    raise RuntimeError("kernel 7 is broken")


def dying(_: Setting) -> Iterator[Row]:
    """Ends its process."""
    yield Row("before")
    os._exit(9)


def endless(_: Setting) -> Iterator[Row]:
    """Never ends."""
    yield Row("before")
    time.sleep(3600)

"""The C library is told to keep memory where it can be."""

from __future__ import annotations

import ctypes
import sys
from typing import Any
from unittest import mock

import pytest

from consistency_tta.runtime.allocator import keep_freed_memory, return_freed_memory


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """In the place of GNU's."""
    library = mock.Mock()
    library.mallopt.return_value = 1
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(sys, "platform", "linux")
    return library


def test_gnus_library_keeps_so_many_megabytes_and_returns_them(library: Any) -> None:
    assert keep_freed_memory(3)
    # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of its malloc.h
    assert library.mallopt.mock_calls == [mock.call(-1, 3 * 2**20), mock.call(-3, 32 * 2**20)]
    return_freed_memory()
    library.malloc_trim.assert_called_once_with(0)


@pytest.mark.parametrize("refused", [0, 1])
def test_a_setting_that_is_refused_is_said(library: Any, refused: int) -> None:
    library.mallopt.side_effect = [number != refused for number in range(2)]
    assert keep_freed_memory() is False


def test_another_library_is_left_alone(library: Any) -> None:
    del library.gnu_get_libc_version, library.malloc_trim
    assert not keep_freed_memory()
    return_freed_memory()
    assert not library.mallopt.mock_calls


def test_another_system_is_left_alone(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    return_freed_memory()
    assert not library.mock_calls

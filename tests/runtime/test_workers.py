"""Processes that a command starts end with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch

from consistency_tta.runtime.workers import ENDING, run_in_processes


def blocked() -> bool:
    """Whether Ctrl+C waits in this thread, and in the processes that it starts."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_ctrl_c_ends_the_processes_and_reaches_none_that_is_still_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    context = mock.Mock(processes=[mock.Mock(), mock.Mock()])
    context.join.side_effect = [False, KeyboardInterrupt]

    def spawn(*_: Any, **__: Any) -> Any:
        assert blocked()
        return context

    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)
    with pytest.raises(KeyboardInterrupt):
        run_in_processes(2, "cpu", print)
    assert not blocked()
    assert [process.terminate.call_count for process in context.processes] == [1, 1]


@pytest.fixture
def _handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("number", ENDING)
def test_work_is_interrupted_once(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(run: Any, arguments: tuple[Any, ...], **__: Any) -> Any:
        run(0, *arguments)  # as a new process does, in which Ctrl+C waits
        return mock.Mock()

    def work(_: Any) -> None:
        assert not blocked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        for again in ENDING:  # the command's SIGTERM behind the terminal's SIGINT
            os.kill(os.getpid(), again)
        worked.append(1)

    worked: list[int] = []
    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)
    run_in_processes(2, "cpu", work)
    assert worked

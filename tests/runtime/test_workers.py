"""Processes that a command starts end with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch

from consistency_tta.runtime import workers
from consistency_tta.runtime.distributed import LAUNCHERS, ProcessRank
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.workers import ENDING, check_processes, device_of_process, run_in_processes


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


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(
    ("device", "devices", "threads"), [("cpu", 2, 3), ("cpu", 7, 1), ("cpu", 20, 1), ("cuda", 2, 7)]
)
def test_work_has_its_rank_its_arguments_and_on_a_cpu_its_share_of_threads(
    device: str, devices: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(run: Any, arguments: tuple[Any, ...], **options: Any) -> Any:
        assert options == {"nprocs": devices, "join": False}  # joined where an interruption ends them
        run(1, *arguments)
        return mock.Mock()

    found: list[Any] = []
    monkeypatch.setattr(workers, "best_device", lambda _: torch.device(device))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)
    run_in_processes(devices, device, lambda *given: found.extend(given), "one", 2)
    assert found == [threads, ProcessRank(1, devices, 1), "one", 2]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, and no launcher."""
    for name in (name for names in LAUNCHERS for name in names):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(workers, "best_device", torch.device)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.mark.usefixtures("cards")
def test_as_many_processes_as_there_are_devices_may_be_started() -> None:
    for devices, device in ((1, "cpu"), (3, "cpu"), (1, "cuda"), (2, "cuda")):
        assert check_processes(devices, device) == ProcessRank()
    for devices, device in ((0, "cpu"), (-1, "cuda"), (3, "cuda")):
        with pytest.raises(ConfigurationError, match=f"got {devices}"):
            check_processes(devices, device)


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize("size", [1, 2])
def test_under_a_launcher_of_several_the_command_starts_none(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", size - 1), ("WORLD_SIZE", size), ("LOCAL_RANK", size - 1)):
        monkeypatch.setenv(name, str(value))
    assert check_processes(1, "cpu") == ProcessRank(size - 1, size, size - 1)
    if size == 1:
        check_processes(2, "cpu")
    else:
        with pytest.raises(ConfigurationError, match="devices=2"):
            check_processes(2, "cpu")


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    ("device", "place", "expected"),
    [
        ("cpu", ProcessRank(3, 4, 3), "cpu"),
        ("cuda", ProcessRank(), "cuda"),
        ("cuda", ProcessRank(1, 2, 1), "cuda:1"),
        ("cuda", ProcessRank(6, 8, 2), "cuda:0"),  # more processes than devices
        ("cuda:0", ProcessRank(1, 2, 1), "cuda:0"),
    ],
)
def test_each_process_has_its_own_device(device: str, place: ProcessRank, expected: str) -> None:
    assert device_of_process(device, place) == torch.device(expected)

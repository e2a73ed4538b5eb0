"""A run that a signal stops leaves a checkpoint of the step it had reached."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.exceptions import SIGTERMException

from consistency_tta.training.callbacks import stop_signal
from consistency_tta.training.callbacks.stop_signal import (
    SaveOnSigterm,
    discard_output_to_closed_terminals,
    exit_status,
    requeue_job,
)
from consistency_tta.training.checkpoint_search import newest_checkpoint
from consistency_tta.training.job_checkpoint import job_checkpoint
from tests.training.jobs import SLURM
from tests.training.runs import MAKERS, data, equal, trainer


class Stop(Callback):
    def __init__(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.number = number

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(
    teacher_folder: Path,
    tmp_path: Path,
    number: signal.Signals,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed: list[int] = []
    monkeypatch.setattr(stop_signal, "discard_output_to_closed_terminals", lambda: closed.append(1))
    before = signal.signal(number, signal.SIG_DFL)  # ignored where the tests run under nohup
    try:
        stopped = trainer(tmp_path, max_steps=6, callbacks=[Stop(number)])
        with pytest.raises(SIGTERMException), caplog.at_level("INFO"):
            stopped.fit(MAKERS["refinement"](teacher_folder), data())
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert exit_status(stopped) == status
    assert len(closed) == (number == signal.SIGHUP)  # which a terminal sends that closes
    assert [line for line in caplog.messages if number.name in line and "sigterm.ckpt" in line]
    resumed = trainer(tmp_path, max_steps=4)
    resumed.fit(MAKERS["refinement"](teacher_folder), data(), ckpt_path=newest_checkpoint(tmp_path))
    assert resumed.global_step == 4


def test_an_ignored_sighup_as_under_nohup_stops_nothing(teacher_folder: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = trainer(tmp_path, max_steps=4, callbacks=[Stop(signal.SIGHUP)])
        run.fit(MAKERS["diffusion"](teacher_folder), data())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.global_step == 4


@pytest.mark.parametrize("closed", [1, 2])
def test_messages_to_a_closed_terminal_lead_nowhere_and_files_are_left_alone(closed: int, tmp_path: Path) -> None:
    main, terminal = os.openpty()
    kept = os.dup(1), os.dup(2)
    with (tmp_path / "log").open("wb") as log:
        os.dup2(terminal, closed)
        os.dup2(log.fileno(), 3 - closed)
        try:
            os.close(main)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                os.write(closed, b"text")
            before = sorted(Path("/dev/fd").iterdir())
            discard_output_to_closed_terminals()
            assert sorted(Path("/dev/fd").iterdir()) == before
            assert os.write(closed, b"text") == 4
            os.write(3 - closed, b"text")
        finally:
            for descriptor, copy in enumerate(kept, start=1):
                os.dup2(copy, descriptor)
                os.close(copy)
            os.close(terminal)
    assert (tmp_path / "log").read_bytes() == b"text"


def slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> Path:
    """The variables of a SLURM job, and a program scontrol that notes what it is given."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\necho refused >&2\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder / "calls"


def test_sigusr1_under_slurm_saves_after_the_step_and_requeues_the_job_which_goes_on(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = slurm(tmp_path, monkeypatch)
    with pytest.raises(SIGTERMException):
        trainer(tmp_path, max_steps=6, callbacks=[Stop(signal.SIGUSR1)]).fit(
            MAKERS["diffusion"](teacher_folder), data()
        )
    assert calls.read_text() == "requeue 7\n"
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["slurm_job_7_1.ckpt"]
    again = trainer(tmp_path, max_steps=4)
    with caplog.at_level("INFO"):
        again.fit(MAKERS["diffusion"](teacher_folder), data(), ckpt_path=job_checkpoint(tmp_path))
    assert [line for line in caplog.messages if "default_root_dir" in line and "slurm_job_7_1.ckpt" in line]
    straight = MAKERS["diffusion"](teacher_folder)
    trainer(tmp_path / "straight", max_steps=4).fit(straight, data())
    assert equal(again.lightning_module.state_dict(), straight.state_dict())


def test_where_slurm_refuses_the_job_and_the_checkpoint_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slurm(tmp_path, monkeypatch, status=1)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "8")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with caplog.at_level("INFO"):
        requeue_job(tmp_path / "slurm_job_7_1.ckpt")
    assert (tmp_path / "calls").read_text() == "requeue 8_2\n"
    assert "8_2" in caplog.text
    assert "1. refused)" in caplog.text  # the status, and what it said
    assert "slurm_job_7_1.ckpt" in caplog.text


class Launcher:
    """Notes which signals its processes get."""

    def __init__(self) -> None:
        self.sent: list[signal.Signals] = []

    def kill(self, number: signal.Signals) -> None:
        self.sent.append(number)


def run_of(environment: Any = None, world_size: int = 1, **more: Any) -> Any:
    """A run without a training."""
    settings: dict[str, Any] = {"world_size": world_size, "strategy": SimpleNamespace(launcher=None)}
    settings |= {"_accelerator_connector": SimpleNamespace(cluster_environment=environment)}
    settings |= {"_signal_connector": SimpleNamespace(received_sigterm=False), "is_global_zero": world_size == 1}
    settings |= {"ckpt_path": None}
    return SimpleNamespace(**(settings | more))


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Signals are handled afterwards as before."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("begin", ["on_train_start", "on_sanity_check_start"])
def test_the_first_signal_is_passed_on_to_the_processes_that_this_one_has_started(
    begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    monkeypatch.setattr(stop_signal, "discard_output_to_closed_terminals", lambda: closed.append(1))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    callback, launcher = SaveOnSigterm(), Launcher()
    assert (callback.received, callback.requeue) == (0, False)
    run = run_of(strategy=SimpleNamespace(launcher=launcher))
    for first, second in ((signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)):
        launcher.sent.clear()
        run._signal_connector.received_sigterm = False
        getattr(callback, begin)(run, LightningModule())
        assert (callback.received, callback.requeue) == (0, False)  # of a run before
        closed.clear()
        os.kill(os.getpid(), first)
        assert len(closed) == (first == signal.SIGHUP)  # which a terminal sends that closes
        assert callback.received == first
        assert run._signal_connector.received_sigterm is True
        os.kill(os.getpid(), second)
        assert launcher.sent == [first]
        assert not callback.requeue
        callback.requeue = True


def test_signals_stay_with_who_has_them_in_another_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    faults: list[BaseException] = []

    def begin() -> None:
        try:
            SaveOnSigterm().on_train_start(run_of(), LightningModule())
        except BaseException as error:
            faults.append(error)

    thread = Thread(target=begin)
    thread.start()
    thread.join()
    assert not faults
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("environment", "taken"),
    [
        (SLURMEnvironment(requeue_signal=signal.SIGUSR1), True),
        (SLURMEnvironment(auto_requeue=False, requeue_signal=signal.SIGUSR1), False),
        (SLURMEnvironment(), True),
        (LightningEnvironment(), False),
    ],
)
def test_slurms_signal_requeues_where_slurm_may(environment: Any, taken: bool) -> None:
    ignored: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: ignored.append(number))
    callback = SaveOnSigterm()
    callback.on_train_start(run_of(environment), LightningModule())
    os.kill(os.getpid(), signal.SIGUSR1)
    assert (callback.received, callback.requeue) == ((signal.SIGUSR1, True) if taken else (0, False))
    assert bool(ignored) != taken
    callback.on_train_start(run_of(environment), LightningModule())
    os.kill(os.getpid(), signal.SIGTERM)
    assert (callback.received, callback.requeue) == (signal.SIGTERM, False)


def test_slurm_may_have_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SLURMEnvironment()
    environment.requeue_signal = None
    before = signal.getsignal(signal.SIGUSR1)
    SaveOnSigterm().on_train_start(run_of(environment), LightningModule())
    assert signal.getsignal(signal.SIGUSR1) == before


class Processes:
    """``torch.distributed`` of two processes, of which the other one has received something."""

    def __init__(self, backend: str, received: int = 0, requeue: bool = False) -> None:
        self.backend, self.other = backend, torch.tensor([received, int(requeue)])
        self.group, self.ReduceOp = SimpleNamespace(WORLD="all"), torch.distributed.ReduceOp
        self.groups: list[Any] = []
        self.reduced: list[Any] = []

    def get_backend(self) -> str:
        return self.backend

    def new_group(self, backend: str = "nccl") -> str:
        self.groups.append(backend)
        return f"a group by {backend}"

    def all_reduce(self, tensor: torch.Tensor, operation: Any, group: Any = None) -> None:
        assert operation == torch.distributed.ReduceOp.MAX
        self.reduced.append(group)
        tensor.copy_(torch.maximum(tensor, self.other))


@pytest.mark.parametrize(("backend", "group"), [("gloo", "all"), ("nccl", "a group by gloo")])
@pytest.mark.parametrize("end", ["on_train_batch_end", "on_validation_batch_end"])
def test_processes_agree_on_the_cpu_after_each_batch(
    end: str, backend: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes, callback, module = Processes(backend), SaveOnSigterm(), LightningModule()
    monkeypatch.setattr(stop_signal, "dist", processes)
    run = run_of(world_size=2)
    for _ in range(2):  # the group is made once in a run
        callback.on_train_start(run, module)
    assert processes.groups == ([] if backend == "gloo" else ["gloo"])
    getattr(callback, end)(run, module, None, None, 0)
    assert processes.reduced == [group]
    assert not run._signal_connector.received_sigterm
    os.kill(os.getpid(), signal.SIGTERM)
    assert not run._signal_connector.received_sigterm  # not before the others know
    getattr(callback, end)(run, module, None, None, 0)
    assert run._signal_connector.received_sigterm is True
    callback.teardown(run, module, "fit")
    callback.on_train_start(run, module)
    assert processes.groups == ([] if backend == "gloo" else ["gloo"] * 2)


def test_a_signal_to_another_process_stops_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    callback, run = SaveOnSigterm(), run_of(world_size=2)
    monkeypatch.setattr(stop_signal, "dist", Processes("gloo", signal.SIGUSR1, requeue=True))
    callback.on_train_start(run, LightningModule())
    callback.on_train_batch_end(run, LightningModule(), None, None, 0)
    assert (callback.received, callback.requeue) == (signal.SIGUSR1, True)
    assert run._signal_connector.received_sigterm is True


def test_one_process_agrees_with_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signal, "dist", None)
    callback = SaveOnSigterm()
    callback.on_train_batch_end(run_of(), LightningModule(), None, None, 0)
    callback.on_train_start(run_of(), LightningModule())
    callback.on_train_batch_end(run_of(), LightningModule(), None, None, 0)
    callback.group = "of a run of several processes before"
    callback.on_train_batch_end(run_of(), LightningModule(), None, None, 0)
    callback.group = None
    callback.on_train_batch_end(run_of(world_size=2), LightningModule(), None, None, 0)  # before it has begun


def stopped(callback: SaveOnSigterm, error: BaseException, folder: Path, **more: Any) -> list[Path]:
    """Which checkpoints a run saves that an error ends."""
    saved: list[Path] = []
    settings: dict[str, Any] = {"save_checkpoint": saved.append, "global_step": 5}
    settings |= {"default_root_dir": str(folder), "log_dir": str(folder / "logs"), "checkpoint_callback": None}
    callback.on_exception(run_of(**(settings | more)), LightningModule(), error)
    return saved


def test_a_signal_alone_leaves_a_checkpoint_next_to_the_runs_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback, end = SaveOnSigterm(), SIGTERMException()
    with caplog.at_level("INFO"):
        assert stopped(callback, end, tmp_path) == [file := tmp_path / "logs" / "checkpoints" / "sigterm.ckpt"]
        assert [text for text in caplog.messages if "SIGTERM at step 5" in text and f"--ckpt_path {file}" in text]
        callback.received = signal.SIGHUP
        saving = SimpleNamespace(dirpath=str(tmp_path / "saved"))
        assert stopped(callback, end, tmp_path, checkpoint_callback=saving) == [tmp_path / "saved" / "sigterm.ckpt"]
    assert "SIGHUP" in caplog.messages[-1]
    saving.dirpath = None
    assert stopped(callback, end, tmp_path, checkpoint_callback=saving) == [file]
    assert stopped(callback, KeyboardInterrupt(), tmp_path) == []
    assert stopped(callback, end, tmp_path, fast_dev_run=True) == []


@pytest.mark.parametrize("first", [True, False])
def test_a_job_that_is_requeued_leaves_its_own_checkpoint(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[Path] = []
    monkeypatch.setattr(stop_signal, "requeue_job", queued.append)
    callback = SaveOnSigterm()
    callback.requeue = True
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (tmp_path / "slurm_job_7_3.ckpt").touch()
    file = tmp_path / "slurm_job_7_4.ckpt"
    assert stopped(callback, SIGTERMException(), tmp_path, is_global_zero=first) == [file]
    assert queued == [file] * first


@pytest.mark.parametrize("name", ["slurm_job_7_3.ckpt", "last.ckpt", None])
def test_a_run_that_goes_on_by_itself_says_so(name: str | None, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of(ckpt_path=name and f"runs/{name}")
    with caplog.at_level("INFO"):
        SaveOnSigterm().on_load_checkpoint(run, LightningModule(), {"global_step": 6})
    found = [text for text in caplog.messages if "step 6 of runs/slurm_job_7_3.ckpt" in text]
    assert caplog.messages == found
    assert bool(found) == (name == "slurm_job_7_3.ckpt")


@pytest.mark.parametrize(
    ("received", "status"), [(0, 143), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 143)]
)
def test_the_exit_status_is_that_of_the_signal(received: int, status: int) -> None:
    callback = SaveOnSigterm()
    callback.received = received
    assert exit_status(run_of(callbacks=[Callback(), callback])) == status


def test_a_job_in_the_queue_again_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slurm(tmp_path, monkeypatch)
    with caplog.at_level("INFO"):
        requeue_job(tmp_path / "slurm_job_7_1.ckpt")
        monkeypatch.setenv("PATH", str(tmp_path))  # where there is no scontrol
        requeue_job(tmp_path / "slurm_job_7_2.ckpt")
    again, refused = caplog.messages
    assert (tmp_path / "calls").read_text() == "requeue 7\n"
    assert "job 7 is in the queue" in again
    assert "slurm_job_7_1.ckpt" in again
    assert "job 7 was not" in refused
    assert "--ckpt_path last" in refused  # another job would not go on by itself
    assert "scontrol" in refused


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_run_begun_anew_keeps_the_checkpoint_of_another(goes_on: bool, tmp_path: Path) -> None:
    (tmp_path / "sigterm.ckpt").write_text("before")
    run: Any = SimpleNamespace(
        ckpt_path=tmp_path / "sigterm.ckpt" if goes_on else None,
        is_global_zero=True,
        global_step=3,
        checkpoint_callback=SimpleNamespace(dirpath=tmp_path),
        save_checkpoint=lambda file: file.write_text("now"),
    )
    stop_signal.SaveOnSigterm().on_exception(run, None, SIGTERMException())  # type: ignore[arg-type]
    kept = {} if goes_on else {"sigterm.ckpt.1": "before"}
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"sigterm.ckpt": "now"} | kept

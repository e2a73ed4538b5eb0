"""A run that a signal stops leaves a checkpoint of the step it had reached."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from consistency_tta.training.callbacks import stop_signal
from consistency_tta.training.callbacks.stop_signal import (
    discard_output_to_closed_terminals,
    exit_status,
    requeue_job,
)
from consistency_tta.training.checkpoint_search import newest_checkpoint
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


def test_messages_to_a_closed_terminal_lead_nowhere_and_files_are_left_alone(tmp_path: Path) -> None:
    main, terminal = os.openpty()
    kept = os.dup(1), os.dup(2)
    with (tmp_path / "log").open("wb") as log:
        os.dup2(terminal, 1)
        os.dup2(log.fileno(), 2)
        try:
            os.close(main)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                os.write(1, b"text")
            discard_output_to_closed_terminals()
            assert os.write(1, b"text") == 4
            os.write(2, b"text")
        finally:
            for descriptor, copy in enumerate(kept, start=1):
                os.dup2(copy, descriptor)
                os.close(copy)
            os.close(terminal)
    assert (tmp_path / "log").read_bytes() == b"text"


SLURM = {"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "training"}
SLURM |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost"}


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


def test_sigusr1_under_slurm_saves_after_the_step_and_requeues_the_job_which_goes_on_by_itself(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = slurm(tmp_path, monkeypatch)
    with pytest.raises(SIGTERMException):
        trainer(tmp_path, max_steps=6, callbacks=[Stop(signal.SIGUSR1)]).fit(
            MAKERS["diffusion"](teacher_folder), data()
        )
    assert calls.read_text() == "requeue 7\n"
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["hpc_ckpt_1.ckpt"]
    again = trainer(tmp_path, max_steps=4)
    with caplog.at_level("INFO"):
        again.fit(MAKERS["diffusion"](teacher_folder), data())
    assert [line for line in caplog.messages if "default_root_dir" in line and "hpc_ckpt_1.ckpt" in line]
    assert again.ckpt_path == str(tmp_path / "hpc_ckpt_1.ckpt")
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
        requeue_job(tmp_path / "hpc_ckpt_1.ckpt")
    assert (tmp_path / "calls").read_text() == "requeue 8_2\n"
    assert "8_2" in caplog.text
    assert "refused" in caplog.text
    assert "hpc_ckpt_1.ckpt" in caplog.text

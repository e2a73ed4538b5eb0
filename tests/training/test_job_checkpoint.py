"""A SLURM job that starts again goes on from its own run's checkpoint alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_search import named_checkpoint
from consistency_tta.training.job_checkpoint import job_checkpoint, new_job_checkpoint, settings_digest, slurm_job


def enter(monkeypatch: pytest.MonkeyPatch, job: str, array: str = "", task: str = "") -> None:
    """The variables of a job."""
    names = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": job, "ARRAY_JOB_ID": array, "ARRAY_TASK_ID": task}
    for name, value in names.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


def test_each_job_and_each_run_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {}
    runs = [("7", "", ""), ("77", "", ""), ("70", "8", "2"), ("71", "8", "1")]
    for job in runs:
        enter(monkeypatch, *job)
        for run in ("", "0a", "12345678"):
            assert job_checkpoint(tmp_path, run) is None
            for _ in range(11):
                file = written[job, run] = new_job_checkpoint(tmp_path, run)
                file.touch()
    assert len({*tmp_path.iterdir()}) == 4 * 3 * 11
    for (job, run), file in written.items():
        enter(monkeypatch, *job)
        assert job_checkpoint(tmp_path, run) == file
    assert slurm_job() == "8_1"


def test_another_run_of_the_job_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enter(monkeypatch, "7")
    new_job_checkpoint(tmp_path, "0a").touch()
    for job, said in (("7", ["slurm_job_7_0a_1.ckpt is of this job"]), ("8", [])):
        enter(monkeypatch, job)
        caplog.clear()
        assert job_checkpoint(tmp_path, "0b") is None
        assert [message.removeprefix(f"{tmp_path}/").partition(",")[0] for message in caplog.messages] == said


def test_without_slurm_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "7")
    new_job_checkpoint(tmp_path).touch()
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert job_checkpoint(tmp_path) is None


def test_lightnings_own_files_which_any_job_would_take_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hpc_ckpt_3.ckpt").touch()
    assert job_checkpoint(tmp_path) is None
    enter(monkeypatch, "7")
    with pytest.raises(CheckpointError, match=r"hpc_ckpt_3\.ckpt.*--ckpt_path hpc"):
        job_checkpoint(tmp_path)
    assert named_checkpoint("hpc", tmp_path) == tmp_path / "hpc_ckpt_3.ckpt"
    new_job_checkpoint(tmp_path).touch()
    assert job_checkpoint(tmp_path) == named_checkpoint("hpc", tmp_path) == tmp_path / "slurm_job_7_1.ckpt"


def test_a_run_is_its_model_data_and_seed() -> None:
    settings = {"model": {"a": 1, "b": Path("x")}, "data": {}, "seed_everything": 0, "trainer": {"max_steps": 1}}
    same = {"trainer": {"max_steps": 2}, "seed_everything": 0, "data": {}, "model": {"b": "x", "a": 1}}
    assert settings_digest(settings) == settings_digest(same)
    for other in ({"model": {"a": 2}}, {"data": {"c": 1}}, {"seed_everything": 1}):
        assert settings_digest(settings | other) != settings_digest(settings)

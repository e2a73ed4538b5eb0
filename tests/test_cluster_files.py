"""The launch files of docs/cluster, with stand-ins for the training and for SLURM."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from consistency_tta.cli import main

FILES = Path(__file__).parent.parent / "docs" / "cluster"
#: In the place of the package: notes how it was called, and dies when it is called for the first time.
TRAINING = """
import os, sys
from pathlib import Path
calls = Path(os.environ["CALLS"])
first = not calls.exists()
with calls.open("a") as file:
    print(*sys.argv[1:], file=file)
if first:
    os.kill(os.getpid(), 9)
print("grace", os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
"""
#: Notes how it was called; at SIGTERM it saves a checkpoint.
SRUN = """#!/bin/bash
trap 'echo saved >> "$CALLS"; exit 143' TERM
echo "$@" >> "$CALLS"
for k in $(seq 200); do sleep 0.1; done
"""
#: In the place of torch's: at Ctrl+C it ends as the training does.
TORCHRUN = """#!/bin/bash
trap 'echo interrupted >> "$CALLS"; exit 130' INT
echo started >> "$CALLS"
for k in $(seq 600); do sleep 0.1; done
"""
SCONTROL = """#!/bin/bash
echo scontrol "$@" >> "$CALLS"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With the stand-ins; ``CALLS`` is the file of their notes."""
    package = tmp_path / "stand_in" / "consistency_tta"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(TRAINING)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    files = {"PYTHONPATH": str(package.parent), "RUN": str(tmp_path / "run"), "CALLS": str(tmp_path / "calls")}
    slurm = {"SLURM_JOB_ID": "17", "SLURM_NNODES": "4"}
    return os.environ | files | slurm | {"PATH": path, "HEAD": "localhost", "NODES": "1", "GPUS": "1", "PORT": "0"}


def calls(environment: dict[str, str]) -> list[str]:
    file = Path(environment["CALLS"])
    return file.read_text().splitlines() if file.exists() else []


def check_options(call: str, processes: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """The command line takes the options of a call, which go on from a checkpoint wherever there is one."""
    assert "--ckpt_path auto" in call
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main([*call.split(), "--print_config"])
    trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
    assert (trainer["num_nodes"], int(trainer["devices"])) == processes


def test_a_worker_that_torchrun_starts_again_looks_for_a_checkpoint(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        [FILES / "torchrun.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = calls(environment)
    assert first == second
    check_options(second, (1, 1), capsys)
    [_, job] = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    grace = int(done.stdout.split("grace ")[1])
    assert 120 < grace < job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_torchrun_ends_where_the_other_machine_never_comes(environment: dict[str, str]) -> None:
    """``tests/nodes`` has what happens when it is lost later."""
    alone = environment | {"NODES": "2", "WAIT": "3"}
    done = subprocess.run([FILES / "torchrun.sh"], env=alone, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "2 machines did not meet at localhost within 3 s" in done.stderr
    assert not calls(environment)


def test_torchrun_hands_on_the_interruption_of_a_terminal(environment: dict[str, str]) -> None:
    program = Path(environment["CALLS"]).parent / "bin" / "torchrun"
    program.write_text(TORCHRUN)
    program.chmod(0o755)
    keyboard, terminal = pty.openpty()
    # `setsid --ctty`: the terminal is that of its session, as of a shell's.
    command = ["setsid", "--ctty", FILES / "torchrun.sh"]
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}

    def listen() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background

    with subprocess.Popen(command, env=environment, preexec_fn=listen, **streams) as started:
        while not calls(environment):
            assert started.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)  # its traps are set
        os.write(keyboard, b"\x03")
        try:
            assert started.wait(10) == 130
        finally:
            started.kill()
    os.close(keyboard)
    os.close(terminal)
    assert calls(environment) == ["started", "interrupted"]


def test_torchrun_asks_for_the_first_machine(environment: dict[str, str]) -> None:
    environment.pop("HEAD")
    done = subprocess.run([FILES / "torchrun.sh"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert "HEAD: set it to the name of the first machine" in done.stderr


def test_kubernetes_starts_torchrun_on_each_of_its_pods(environment: dict[str, str]) -> None:
    service, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert os.access(FILES.parents[1] / container["command"][0], os.X_OK)
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    script = (FILES / "torchrun.sh").read_text()
    assert all(f"${name}" in script or f"${{{name}:-" in script for name in settings)
    assert settings["HEAD"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert int(settings["NODES"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(settings["GPUS"]) == container["resources"]["limits"]["nvidia.com/gpu"]


def test_slurm_starts_a_process_for_each_gpu(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (Path(environment["CALLS"]).parent / "bin" / "srun").write_text('#!/bin/bash\necho "$@" >> "$CALLS"\n')
    subprocess.run([FILES / "slurm.sh"], env=environment, check=True, timeout=60)
    [call] = calls(environment)
    check_options(call.split("consistency-tta ")[1], (4, 8), capsys)
    batch = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", (FILES / "slurm.sh").read_text(), re.MULTILINE))
    assert (batch["nodes"], batch["ntasks-per-node"], batch["gpus-per-node"]) == ("4", "8", "8")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda number: number.name)
def test_slurm_saves_and_requeues(number: signal.Signals, environment: dict[str, str]) -> None:
    with subprocess.Popen([FILES / "slurm.sh"], env=environment) as job:
        while not calls(environment):
            time.sleep(0.02)
        job.send_signal(number)
        assert job.wait(60) == 0
    assert calls(environment)[1:] == ["saved", "scontrol requeue 17"]


def test_slurm_requeues_before_the_training_has_started(environment: dict[str, str], tmp_path: Path) -> None:
    """A signal as soon as there is a trap."""
    early = tmp_path / "early"
    early.write_text('trap() { builtin trap "$@"; kill -USR1 $$; }\n')
    job = subprocess.run([FILES / "slurm.sh"], env=environment | {"BASH_ENV": str(early)}, timeout=60)
    assert job.returncode == 0
    assert calls(environment) == ["scontrol requeue 17"]


def test_the_last_three_checkpoints_are_kept(tmp_path: Path) -> None:
    overlay = yaml.safe_load((FILES.parents[1] / "lightning_configs/cluster/multi_node.yaml").read_text())
    [entry] = overlay["trainer"]["callbacks+"]
    kept = ModelCheckpoint(tmp_path, **(entry["init_args"] | {"every_n_train_steps": 2}))
    trainer = Trainer(
        accelerator="cpu",
        max_steps=11,
        callbacks=[kept],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(BoringModel())
    assert {file.stem for file in tmp_path.glob("*.ckpt")} == {f"newest-step={step}" for step in (6, 8, 10)}

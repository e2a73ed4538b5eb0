"""Two machines train as one does, and what happens to one of them, or to the cable, loses nothing.

The machines are network namespaces on one; torchrun starts a process on each. docs/cluster.md has the settings.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from tests.nodes.network import Node, reason_against, two_nodes
from tests.test_cli import distillation_config

ROOT = Path(__file__).parents[2]
STEPS = 12
#: Seconds after which a run that has not ended is said to hang.
LIMIT = 240


class Run:
    """A training on two processes in a folder of its own."""

    def __init__(self, teacher: Path, folder: Path, restarts: int = 3) -> None:
        self.folder, self.restarts = folder, restarts
        folder.mkdir()
        config = distillation_config(teacher, folder, max_steps=STEPS, devices=1, num_nodes=2, strategy="ddp")
        config["data"]["init_args"]["batch_size"] = 2
        config["trainer"] |= {
            "enable_checkpointing": True,
            "callbacks": [
                {"class_path": "tests.nodes.slow_steps.SlowSteps", "init_args": {"folder": str(folder)}},
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"dirpath": str(folder / "checkpoints"), "save_last": True, "every_n_train_steps": 1},
                },
            ],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        # A process that torchrun starts again goes on from the newest checkpoint.
        fit = f"{sys.executable} -m consistency_tta fit --config {folder}/config.yaml"
        (folder / "fit.sh").write_text(
            f"if ls {folder}/checkpoints/*.ckpt >/dev/null 2>&1; then resume='--ckpt_path last'; fi\n"
            f"exec {fit} $resume\n"
        )

    def start(self, node: Node, first: Node) -> subprocess.Popen[bytes]:
        """Torchrun on one of two machines."""
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        command += ["--max-restarts", str(self.restarts), "--rdzv-backend", "c10d", "--rdzv-id", self.folder.name]
        command += ["--rdzv-endpoint", f"{first.address}:29400", "--local-addr", node.address]
        # Of itself torchrun knows who hosts the rendezvous by the machine's name, which the namespaces share.
        host = int(node is first)
        command += ["--rdzv-conf", f"is_host={host},join_timeout=600,last_call_timeout=5,timeout=600"]
        return node.start(
            [*command, "--no-python", "bash", str(self.folder / "fit.sh")],
            self.folder / f"log_{node.name}",
            {
                "GLOO_SOCKET_IFNAME": node.interface,
                # Else restarted processes read the addresses of those before them, and nobody answers there.
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
            },
        )

    def reach(self, rank: int, step: int) -> int:
        """Wait until a process has made a step; its process number."""
        file, end = self.folder / f"rank{rank}", time.monotonic() + LIMIT
        while time.monotonic() < end:
            if file.exists():
                reached, pid = map(int, file.read_text().split())
                if reached >= step:
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"no step {step} of process {rank} within {LIMIT} s:\n{self.logs()}")

    def logs(self) -> str:
        """The ends of what the machines printed."""
        return "\n".join(file.read_text()[-3000:] for file in self.folder.glob("log_*"))

    def weights(self) -> dict[str, Tensor]:
        """The last checkpoint's, once the run has made all steps."""
        checkpoint = torch.load(self.folder / "checkpoints/last.ckpt", weights_only=False)
        assert checkpoint["global_step"] == STEPS, self.logs()
        return dict(checkpoint["state_dict"])


@pytest.fixture(scope="module")
def expected(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Of two processes on one machine, undisturbed."""
    run = Run(teacher_folder, tmp_path_factory.mktemp("one") / "node")
    settings = yaml.safe_load((run.folder / "config.yaml").read_text())
    settings["trainer"] |= {"devices": 2, "num_nodes": 1}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (run.folder / "log_one").open("wb") as log:
        subprocess.run(
            [*command, "bash", str(run.folder / "fit.sh")], stdout=log, stderr=log, env=environment, timeout=LIMIT
        )
    return run.weights()


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    with two_nodes() as both:
        yield both


def nothing(run: Run, first: Node, second: Node) -> None:
    pass


def kill_worker(run: Run, first: Node, second: Node) -> None:
    os.kill(run.reach(1, 4), signal.SIGKILL)


def kill_node(run: Run, first: Node, second: Node) -> None:
    """And switch it on again."""
    run.reach(1, 4)
    second.power_off()
    time.sleep(3)
    run.start(second, first)


def cut_cable(run: Run, first: Node, second: Node) -> None:
    run.reach(1, 4)
    second.plug(False)
    time.sleep(8)
    second.plug(True)


@pytest.mark.parametrize("fault", [nothing, kill_worker, kill_node, cut_cable])
def test_two_nodes_train_as_one_whatever_happens(
    fault: Callable[[Run, Node, Node], None],
    expected: dict[str, Tensor],
    nodes: tuple[Node, Node],
    teacher_folder: Path,
    tmp_path: Path,
) -> None:
    run, (first, second) = Run(teacher_folder, tmp_path / fault.__name__), nodes
    for node in nodes:
        run.start(node, first)
    fault(run, first, second)
    for node in nodes:
        assert node.processes[-1].wait(LIMIT) == 0, run.logs()
    weights = run.weights()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_ends_soon_when_one_of_its_processes_is_told_to(
    number: signal.Signals, nodes: tuple[Node, Node], teacher_folder: Path, tmp_path: Path
) -> None:
    """Ctrl+C or a scheduler may reach one process alone; the others would wait for it."""
    run, (first, second) = Run(teacher_folder, tmp_path / number.name, restarts=0), nodes
    for node in nodes:
        run.start(node, first)
    os.kill(run.reach(1, 3), number)
    for node in nodes:
        assert node.processes[-1].wait(60) != 0, run.logs()
    assert not first.pids()
    assert not second.pids()


def test_there_can_be_namespaces_here() -> None:
    """Else the tests above fail for a reason that has nothing to do with us; `make test-nodes` says which."""
    assert reason_against() is None

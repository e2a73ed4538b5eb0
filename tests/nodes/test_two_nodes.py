"""Two machines train as one does, and what happens to one of them, or to the cable, loses nothing.

The machines are network namespaces on one; docs/cluster/torchrun.sh starts a process on each. See docs/cluster.md.
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

    def __init__(self, teacher: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        config = distillation_config(teacher, folder, max_steps=STEPS)
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
        self.options = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
        self.command = [str(ROOT / "docs/cluster/torchrun.sh"), *self.options]
        self.environment = {"RUN": str(folder), "CONFIG": str(folder / "config.yaml"), "PYTHONPATH": str(ROOT)}
        self.environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def start(self, node: Node, first: Node, **settings: str) -> subprocess.Popen[bytes]:
        """The launch file on one of two machines."""
        # torchrun recognises its machine by its name and the addresses of this name, which the namespaces share.
        known = {"PET_LOCAL_ADDR": node.address, "RENDEZVOUS": f"is_host={int(node is first)}"}
        known |= {"HEAD": first.address, "NODES": "2", "GPUS": "1", "GLOO_SOCKET_IFNAME": node.interface}
        return node.start(self.command, self.folder / f"log_{node.name}", self.environment | known | settings)

    def start_without_agents(self, node: Node, first: Node) -> subprocess.Popen[bytes]:
        """What SLURM starts on one of two machines, but with the variables of Lightning's own launcher."""
        overlays = ["--config", "cluster/ddp", "--config", "cluster/multi_node"]
        command = [sys.executable, "-m", "consistency_tta", "fit", "--config", self.environment["CONFIG"], *overlays]
        command += ["--trainer.num_nodes", "2", "--trainer.devices", "1", *self.options]
        known = {"MASTER_ADDR": first.address, "MASTER_PORT": "29500", "NODE_RANK": str(int(node is not first))}
        known |= {"GLOO_SOCKET_IFNAME": node.interface}
        return node.start(command, self.folder / f"log_{node.name}", self.environment | known)

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

    def went_on(self) -> bool:
        """Whether it was started again from a checkpoint."""
        return any("Restoring states from" in file.read_text() for file in self.folder.glob("log_*"))

    def weights(self) -> dict[str, Tensor]:
        """The last checkpoint's, once the run has made all steps."""
        checkpoint = torch.load(self.folder / "checkpoints/last.ckpt", weights_only=False)
        assert checkpoint["global_step"] == STEPS, self.logs()
        return dict(checkpoint["state_dict"])


@pytest.fixture(scope="module")
def expected(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Of two processes on one machine, undisturbed."""
    run = Run(teacher_folder, tmp_path_factory.mktemp("one") / "node")
    one = {"HEAD": "localhost", "PORT": "0", "NODES": "1", "GPUS": "2"}
    with (run.folder / "log_one").open("wb") as log:
        subprocess.run(
            run.command, stdout=log, stderr=log, env=os.environ | run.environment | one, timeout=LIMIT, check=True
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


def stop_node(run: Run, first: Node, second: Node) -> None:
    """As a scheduler does, and start it again."""
    run.reach(1, 4)
    second.processes[-1].send_signal(signal.SIGTERM)
    assert second.processes[-1].wait(LIMIT) != 0
    assert (run.folder / "checkpoints/sigterm.ckpt").is_file(), run.logs()
    run.start(second, first)


def kill_first_node(run: Run, first: Node, second: Node) -> None:
    """The meeting point: the other machine must be started again, too."""
    run.reach(1, 4)
    first.power_off()
    assert second.processes[-1].wait(LIMIT) != 0
    for node in (first, second):
        run.start(node, first)


@pytest.mark.parametrize("fault", [nothing, kill_worker, kill_node, kill_first_node, stop_node, cut_cable])
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
    assert run.went_on() == (fault not in (nothing, cut_cable)), run.logs()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_ends_soon_when_one_of_its_processes_is_told_to(
    number: signal.Signals, nodes: tuple[Node, Node], teacher_folder: Path, tmp_path: Path
) -> None:
    """Ctrl+C or a scheduler may reach one process alone; the others would wait for it."""
    run, (first, second) = Run(teacher_folder, tmp_path / number.name), nodes
    for node in nodes:
        run.start(node, first, RESTARTS="0")
    os.kill(run.reach(1, 3), number)
    for node in nodes:
        assert node.processes[-1].wait(60) != 0, run.logs()
    assert not first.pids()
    assert not second.pids()


@pytest.mark.parametrize("agents", [True, False], ids=["torchrun", "no agents"])
def test_both_machines_end_when_the_cable_stays_cut(
    agents: bool, nodes: tuple[Node, Node], teacher_folder: Path, tmp_path: Path
) -> None:
    """Within the set times, and they say why; torch's own agents took 15 minutes, whatever was set."""
    run, (first, second) = Run(teacher_folder, tmp_path / "cut"), nodes
    timeout, wait = 15, 30
    run.options += ["--trainer.strategy.timeout", f"0:00:{timeout}"]
    run.command += run.options[-2:]
    for node in nodes:
        run.start(node, first, WAIT=str(wait)) if agents else run.start_without_agents(node, first)
    run.reach(1, 4)
    second.plug(False)
    end = time.monotonic() + timeout + (wait if agents else 0) + 45  # of a busy machine
    for node in nodes:
        assert node.processes[-1].wait(end - time.monotonic()) == 1, run.logs()
        log = (run.folder / f"log_{node.name}").read_text()
        assert (f"did not meet at {first.address} within {wait} s" if agents else f"{timeout}000ms") in log, log
        while node.pids():  # what the agent left: helpers of multiprocessing end when they notice
            assert time.monotonic() < end, node.pids()
            time.sleep(0.2)


def test_there_can_be_namespaces_here() -> None:
    """Else the tests above fail for a reason that has nothing to do with us; `make test-nodes` says which."""
    assert reason_against() is None

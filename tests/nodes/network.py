"""Two machines on one: network namespaces with a cable between them. Needs root and Linux's ``ip``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def reason_against() -> str | None:
    """Why there can be no namespaces here; None if there can."""
    if shutil.which("ip") is None:
        return "there is no command `ip` (Debian: iproute2)"
    made = subprocess.run(["ip", "netns", "add", f"try{os.getpid()}"], capture_output=True, text=True)
    if made.returncode:
        return f"`ip netns add` says: {made.stderr.strip()}"
    ip("netns", "del", f"try{os.getpid()}")
    return None


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@dataclass
class Node:
    """A machine.

    Attributes:
        name: of its namespace.
        address: of its end of the cable.
        processes: all that were started on it.
    """

    name: str
    address: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def interface(self) -> str:
        """Its end of the cable."""
        return f"v{self.name}"

    def start(self, command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Run a command on this machine, in a process group of its own."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def pids(self) -> list[int]:
        """All processes of this machine."""
        found = subprocess.run(["ip", "netns", "pids", self.name], check=True, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def power_off(self) -> None:
        """Kill everything on it."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def plug(self, connected: bool) -> None:
        """Put the cable in, or pull it out."""
        state = "up" if connected else "down"
        ip("netns", "exec", self.name, "ip", "link", "set", self.interface, state)


@contextmanager
def two_nodes() -> Iterator[tuple[Node, Node]]:
    """Two machines and a cable; all that runs on them ends with the context."""
    nodes = tuple(Node(f"n{os.getpid()}{letter}", f"10.77.0.{k}") for k, letter in ((1, "a"), (2, "b")))
    try:
        for node in nodes:
            ip("netns", "add", node.name)
        ip("link", "add", nodes[0].interface, "type", "veth", "peer", "name", nodes[1].interface)
        for node in nodes:
            ip("link", "set", node.interface, "netns", node.name)
            ip("netns", "exec", node.name, "ip", "addr", "add", f"{node.address}/24", "dev", node.interface)
            ip("netns", "exec", node.name, "ip", "link", "set", "lo", "up")
            node.plug(True)
        yield nodes  # type: ignore[misc]  # two of them
    finally:
        for node in nodes:
            if node.pids():
                node.power_off()
            ip("netns", "del", node.name)

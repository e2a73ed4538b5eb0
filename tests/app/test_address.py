"""The port is checked before anything is loaded."""

from __future__ import annotations

import socket

import pytest

from consistency_tta.app.address import free_port, is_loopback
from consistency_tta.runtime.errors import ConfigurationError


def test_a_free_port_is_found_and_one_in_use_is_refused() -> None:
    port = free_port("127.0.0.1", 0)
    assert free_port("127.0.0.1", port) == port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigurationError, match=str(port)):
        free_port("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("127.0.0.1", -1), ("203.0.113.7", 7860)])
def test_what_this_machine_cannot_serve_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigurationError, match=str(port)):
        free_port(host, port)


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback_addresses_are_of_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone

"""Where the page is served."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing

from consistency_tta.runtime.errors import ConfigurationError


def free_port(host: str, port: int) -> int:
    """The port, or one that is free in place of 0.

    Raises:
        ConfigurationError: the port is out of range or in use, or the host is no address of this machine.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"expected a port from 0, any that is free, to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"expected a free port on an address of this machine, but {host} port {port} cannot be used "
                f"({error.strerror}): give another --port, or --port 0 for any that is free"
            ) from error
        return int(tried.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

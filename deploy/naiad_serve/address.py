"""Where a process listens."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
from dataclasses import dataclass

from naiad_serve.errors import StartError

_FORM = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]\s]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """`host` without the brackets of IPv6; `port` 0 takes any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError for what is not host:port."""
        match = _FORM.fullmatch(text.strip())
        if not match:
            raise ValueError("is not host:port, such as 127.0.0.1:7420, 0.0.0.0:7420 or [::]:7420")
        if int(match["port"]) > 65535:
            raise ValueError(f"has the port {match['port']}; ports go from 0 to 65535")
        return cls(match["host"].strip("[]"), int(match["port"]))

    def __str__(self) -> str:
        return authority(self.host, self.port)

    @property
    def reachable_host(self) -> str:
        """A host that a client on this machine can type in."""
        return "127.0.0.1" if is_any(self.host) else self.host


def is_any(host: str) -> bool:
    """Whether the address stands for all of the machine's."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def authority(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listening_socket(address: Address, *, host_option: str, port_option: str) -> socket.socket:
    """A socket that listens there. Raises StartError that names what is wrong and the option
    or setting to change."""
    host, port = address.host, address.port
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(socket.socket(family, kind, protocol))
            # As servers do: a port whose last connections are only waiting out is free.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(128)
            undo.pop_all()
            return listening
    except socket.gaierror as error:
        raise StartError(
            f"{host_option} {host} is not an address of this machine: {error}"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is taken by another program (another Naiad, perhaps);"
                f" end it or choose another with {port_option}"
            ) from error
        if error.errno == errno.EACCES:
            raise StartError(
                f"port {port} on {host} is not for this user; choose one above 1023 with"
                f" {port_option}"
            ) from error
        raise StartError(f"{host_option} {host} can't be listened on: {error.strerror}") from error


def free_port(address: Address, *, host_option: str, port_option: str) -> int:
    """The port if it can be listened on now, or a free one for 0. Raises StartError."""
    with listening_socket(address, host_option=host_option, port_option=port_option) as probe:
        return int(probe.getsockname()[1])

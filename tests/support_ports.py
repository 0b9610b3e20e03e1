"""Ports for servers that a test starts and that take a while until they listen."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket

# Below those that the kernel gives to connections, which would have a port by the time that a
# server listens there, and below those of `kafka_cluster`.
_PORTS = range(8_192, 16_384)
# As many test processes at most have ports of their own: no other one takes what was found here.
_PROCESSES = 8
_given: set[int] = set()


def free_port() -> int:
    """One that nobody listens on now, and that was not given before in this process."""
    worker = re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", ""))
    ours = _PORTS[int(worker[0]) % _PROCESSES :: _PROCESSES] if worker else _PORTS
    for port in random.SystemRandom().sample(ours, len(ours)):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
    if not _given:
        raise OSError("no port is free")
    # All were given once; most of those are free again.
    _given.clear()
    return free_port()

"""What a broker for tests is told: server.properties as a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Ports(NamedTuple):
    """Of one broker, on the loopback interface."""

    clients: int
    controller: int
    secure: int


@dataclass(frozen=True)
class Secure:
    """A second listener, with TLS and a login."""

    # The broker's certificate chain and its key (PKCS #8), both in this file.
    pem: Path
    user: str
    password: str


def settings(
    node: int, ports: Mapping[int, Ports], data: Path, secure: Secure | None
) -> dict[str, object]:
    """For broker `node` of the cluster that has these ports."""
    controllers = ",".join(f"{n}@127.0.0.1:{p.controller}" for n, p in ports.items())
    copies = min(3, len(ports))
    own = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": controllers,
        "listeners": f"PLAINTEXT://127.0.0.1:{ports[node].clients},"
        f"CONTROLLER://127.0.0.1:{ports[node].controller}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data,
        # Kafka's own topics, sized for a few brokers.
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": max(1, copies - 1),
        # Groups form at once, and a dead broker or member is noticed soon.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1500,
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # Little memory, few threads.
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "log.segment.delete.delay.ms": 1000,
    }
    if secure:
        own["listeners"] = f"{own['listeners']},SECURE://127.0.0.1:{ports[node].secure}"
        own |= _secured(secure)
    return own


def _secured(secure: Secure) -> dict[str, object]:
    login = f'username="{secure.user}" password="{secure.password}"'
    module = "org.apache.kafka.common.security"
    return {
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map":
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": secure.pem,
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.secure.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required"
        f' {login} user_{secure.user}="{secure.password}";',
        "listener.name.secure.scram-sha-512.sasl.jaas.config":
        f"{module}.scram.ScramLoginModule required {login};",
    }  # fmt: skip

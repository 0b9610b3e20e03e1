"""Apache Kafka for tests and development: one broker or several, from the Maven jars.

    python deploy/dev/kafka_cluster.py [--brokers 3]

Starts them on free ports of the loopback interface, prints their kafka:// URL, and ends them
and removes their data at Ctrl-C. Needs Java 17 and, the first time, Maven, which puts the
jars into `.kafka/` beside this file (45 MB). Nothing here is fit for production: one JVM per
broker is both broker and controller, small, and keeps its data in a folder that goes away.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_JARS = _HERE / ".kafka" / "jars"
_READY = "Kafka Server started"
_START_SECONDS = 60.0

# Quick to start and small; what it says at INFO is how we know that it is ready.
_JAVA = [
    "java", "-Xmx256m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
    f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}", "-cp", f"{_JARS}/*",
]  # fmt: skip


class KafkaError(Exception):
    """A broker could not be got or started; the message says why."""


def missing() -> str | None:
    """What this machine lacks, with how to get it; None if it lacks nothing."""
    jars = any(_JARS.glob("kafka_*.jar"))
    if shutil.which("java") and (jars or shutil.which("mvn")):
        return None
    return "needs Java and Maven: apt-get install openjdk-17-jre-headless maven"


def fetch() -> None:
    """Gets the jars that pom.xml names, once. Raises KafkaError."""
    pom = _HERE / "pom.xml"
    stamp = _JARS / "pom.xml"
    _JARS.parent.mkdir(exist_ok=True)
    with (_JARS.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == pom.read_bytes():
            return
        shutil.rmtree(_JARS, ignore_errors=True)
        done = subprocess.run(
            [
                "mvn",
                "-B",
                "-q",
                "-f",
                pom,
                "dependency:copy-dependencies",
                f"-DoutputDirectory={_JARS}",
            ],  # fmt: skip
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaError(f"Maven could not get Kafka's jars:\n{done.stdout}{done.stderr}")
        shutil.copy(pom, stamp)


class KafkaCluster:
    """Brokers of one cluster. `stop` ends all of them, by their process ids."""

    def __init__(
        self, folder: Path, brokers: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        """`folder`: where their data goes; it should be empty. `settings`: added to each
        broker's server.properties."""
        self.folder = folder
        self._settings = dict(settings or {})
        self._ports = _free_ports(2 * brokers)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.nodes = range(1, brokers + 1)

    @property
    def url(self) -> str:
        return f"kafka://{','.join(f'127.0.0.1:{self.port(node)}' for node in self.nodes)}"

    def port(self, node: int) -> int:
        return self._ports[2 * node - 2]

    def pid(self, node: int) -> int:
        return self._processes[node].pid

    def start(self) -> None:
        """Returns when all brokers take requests. Raises KafkaError."""
        fetch()
        # Kafka's form of a UUID.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formats = []
        for node in self.nodes:
            folder = self.folder / str(node)
            folder.mkdir(parents=True)
            (folder / "server.properties").write_text(self._properties(node))
            arguments = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster]
            formats.append(
                subprocess.Popen(
                    [*_JAVA, *arguments, "--config", str(folder / "server.properties")],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            )
        for process in formats:
            output, _ = process.communicate()
            if process.returncode:
                raise KafkaError(f"the storage could not be formatted:\n{output.decode()}")
        for node in self.nodes:
            self._spawn(node)
        for node in self.nodes:
            self._wait(node)

    def start_broker(self, node: int) -> None:
        """Starts one that was ended, on what it had stored."""
        self._spawn(node)
        self._wait(node)

    def kill_broker(self, node: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends one and waits until it is gone; SIGTERM lets it say goodbye."""
        process = self._processes[node]
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Ends what still runs. The data is of no use afterwards. Idempotent."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self) -> KafkaCluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _log(self, node: int) -> Path:
        return self.folder / str(node) / "server.log"

    def _spawn(self, node: int) -> None:
        # Anew, since its words tell when the broker is ready.
        with self._log(node).open("wb") as output:
            command = [*_JAVA, "kafka.Kafka", str(self.folder / str(node) / "server.properties")]
            self._processes[node] = subprocess.Popen(
                # Through a small program that has it die with us.
                [sys.executable, "-m", "naiad_standalone.child", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, node: int) -> None:
        until = time.monotonic() + _START_SECONDS
        while _READY not in (said := self._log(node).read_text(errors="replace")):
            process = self._processes[node]
            if process.poll() is not None:
                raise KafkaError(f"broker {node} ended with {process.returncode}:\n{said[-4000:]}")
            if time.monotonic() > until:
                raise KafkaError(f"broker {node} did not start in time:\n{said[-4000:]}")
            time.sleep(0.05)

    def _properties(self, node: int) -> str:
        controllers = ",".join(f"{n}@127.0.0.1:{self._ports[2 * n - 1]}" for n in self.nodes)
        copies = min(3, len(self.nodes))
        own = {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": controllers,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port(node)},"
            f"CONTROLLER://127.0.0.1:{self._ports[2 * node - 1]}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.folder / str(node) / "data",
            # Kafka's own topics, sized for a few brokers.
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            # Groups form at once, and a dead broker or member is noticed soon.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            # Little memory, few threads.
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.segment.delete.delay.ms": 1000,
            **self._settings,
        }
        return "".join(f"{name}={value}\n" for name, value in own.items())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main() -> None:
    arguments = argparse.ArgumentParser(description="Apache Kafka on loopback, until Ctrl-C")
    arguments.add_argument("--brokers", type=int, default=1)
    given = arguments.parse_args()
    if lack := missing():
        sys.exit(lack)
    # SIGTERM ends it like Ctrl-C, brokers and all.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="naiad-kafka-") as folder,
            KafkaCluster(Path(folder), given.brokers) as cluster,
        ):
            print(cluster.url, flush=True)
            signal.pause()
    except KafkaError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

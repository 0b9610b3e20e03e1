"""Apache Kafka for tests and development: one broker or several, from the Maven jars.

    python deploy/dev/kafka_cluster.py [--brokers 3] [--while-locked FILE]

Starts them on free ports of the loopback interface, prints their kafka:// URL, and ends them
and removes their data at Ctrl-C, or when nobody holds a lock on FILE any more. Nothing here is
fit for production: one JVM per broker is both broker and controller, small, and keeps its data
in a folder that goes away.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TextIO

from broker_settings import Ports, Secure, settings
from kafka_jars import JARS, KafkaError, fetch, missing

_HERE = Path(__file__).resolve().parent
_READY = "Kafka Server started"
# Only tells one that starts from one that never will: one that has ended is noticed at once.
_START_SECONDS = 180.0
# Below those that the kernel gives to connections: one of these may have the port by the time
# that a broker, which takes seconds to start, listens there, and starts there once more.
_PORTS = range(16_384, 32_768)

# Quick to start and small; what it says at INFO is how we know that it is ready.
_JAVA = [
    "java", "-Xmx256m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
    f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}", "-cp", f"{JARS}/*",
]  # fmt: skip


class KafkaCluster:
    """Brokers of one cluster. `stop` ends all of them, by their process ids."""

    def __init__(self, folder: Path, brokers: int = 1, secure: Secure | None = None) -> None:
        """`folder`: where their data goes; it should be empty."""
        self.folder = folder
        self._secure = secure
        ports = _free_ports(3 * brokers)
        self._ports = {n + 1: Ports(*ports[3 * n : 3 * n + 3]) for n in range(brokers)}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.nodes = sorted(self._ports)

    @property
    def url(self) -> str:
        return f"kafka://{','.join(f'127.0.0.1:{p.clients}' for p in self._ports.values())}"

    @property
    def secure_servers(self) -> str:
        return ",".join(f"localhost:{ports.secure}" for ports in self._ports.values())

    @property
    def pids(self) -> list[int]:
        """Of the processes that run the brokers."""
        return [process.pid for process in self._processes.values()]

    def start(self) -> None:
        """Returns when all brokers take requests. Raises KafkaError."""
        fetch()
        # Kafka's form of a UUID.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One in 64 would begin with a dash, which the tool takes for an option.
        cluster = "N" + cluster[1:]
        formats = []
        for node in self.nodes:
            folder = self.folder / str(node)
            folder.mkdir(parents=True)
            own = settings(node, self._ports, folder / "data", self._secure)
            lines = [f"{name}={value}\n" for name, value in own.items()]
            (folder / "server.properties").write_text("".join(lines))
            arguments = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster]
            if self._secure:
                login = f"name={self._secure.user},password={self._secure.password}"
                arguments += ["--add-scram", f"SCRAM-SHA-512=[{login}]"]
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
            self.spawn(node)
        for node in self.nodes:
            self.wait(node)

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

    def spawn(self, node: int) -> None:
        """Starts one, also again on what it had stored. It ends with the thread that calls
        this, at the latest, so that no broker outlives us."""
        # Anew, since its words tell when the broker is ready.
        with self._log(node).open("wb") as output:
            command = [*_JAVA, "kafka.Kafka", str(self.folder / str(node) / "server.properties")]
            self._processes[node] = subprocess.Popen(
                [sys.executable, "-m", "naiad_serve.child", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, node: int) -> None:
        """Returns when it takes requests. Raises KafkaError."""
        until = time.monotonic() + _START_SECONDS
        while _READY not in (said := self._log(node).read_text(errors="replace")):
            process = self._processes[node]
            if process.poll() is not None:
                raise KafkaError(f"broker {node} ended with {process.returncode}:\n{said[-4000:]}")
            if time.monotonic() > until:
                raise KafkaError(f"broker {node} did not start in time:\n{said[-4000:]}")
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                break
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
        return found


def main() -> None:
    arguments = argparse.ArgumentParser(description="Apache Kafka on loopback, until Ctrl-C")
    arguments.add_argument("--brokers", type=int, default=1)
    arguments.add_argument("--while-locked", type=Path, metavar="FILE")
    given = arguments.parse_args()
    if lack := missing():
        sys.exit(lack)
    # SIGTERM ends it like Ctrl-C, brokers and all.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            contextlib.ExitStack() as held,
            tempfile.TemporaryDirectory(prefix="naiad-kafka-") as folder,
            KafkaCluster(Path(folder), given.brokers) as cluster,
        ):
            print(cluster.url, flush=True)
            if given.while_locked:
                # Until all has ended: who comes too late waits, and then finds no broker.
                held.enter_context(_lock(given.while_locked))
            else:
                signal.pause()
    except KafkaError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


def _lock(path: Path) -> TextIO:
    """Returns when nobody else holds a lock on the file: the kernel drops those of dead processes.
    Ours lasts until what is returned is closed."""
    file = path.open("w")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.5)
        else:
            return file


if __name__ == "__main__":
    main()

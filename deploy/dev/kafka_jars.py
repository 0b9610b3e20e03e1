"""The jars of a Kafka broker: got with Maven, once, into `.kafka/` beside this file (45 MB)."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).resolve().parent
JARS = _HERE / ".kafka" / "jars"


class KafkaError(Exception):
    """A broker could not be got or started; the message says why."""


def missing() -> str | None:
    """What this machine lacks, with how to get it; None if it lacks nothing."""
    jars = any(JARS.glob("kafka_*.jar"))
    if shutil.which("java") and (jars or shutil.which("mvn")):
        return None
    return "needs Java and Maven: apt-get install default-jre-headless maven"


def fetch() -> None:
    """Gets the jars that pom.xml names, once. Raises KafkaError."""
    pom = _HERE / "pom.xml"
    stamp = JARS / "pom.xml"
    JARS.parent.mkdir(exist_ok=True)
    with (JARS.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == pom.read_bytes():
            return
        shutil.rmtree(JARS, ignore_errors=True)
        maven = ["mvn", "--batch-mode", "--quiet", "--file", str(pom)]
        done = subprocess.run(
            [*maven, "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaError(f"Maven could not get Kafka's jars:\n{done.stdout}{done.stderr}")
        shutil.copy(pom, stamp)

"""A real broker takes Compose's settings, and Naiad makes its topics there."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import kafka_cluster
import kafka_jars
import pytest
from support_compose import interpolated, made_env, raw
from support_naiad import LONGER, wait_until
from support_ports import free_port

from naiad_eventlog import open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS

pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.long]


def properties(environment: dict[str, object], folder: Path, clients: int, controller: int) -> str:
    """As the image makes them: KAFKA_A_B is a.b. Only addresses differ here."""
    lines = []
    for name, value in environment.items():
        if not name.startswith("KAFKA_") or name == "KAFKA_HEAP_OPTS":
            continue
        key = name.removeprefix("KAFKA_").lower().replace("_", ".")
        text = str(value).replace("kafka:9092", f"127.0.0.1:{clients}")
        text = text.replace("//:9092", f"//127.0.0.1:{clients}")
        text = text.replace("//:9093", f"//127.0.0.1:{controller}")
        text = text.replace("localhost:9093", f"127.0.0.1:{controller}")
        lines.append(f"{key}={text.replace('/var/lib/kafka', str(folder))}\n")
    return "".join(lines)


async def use(url: str) -> None:
    async with await open_event_log(url) as log:
        await log.create_topics(ALL_TOPICS)
        assert (await log.append(RECORDS.name, b"run", b"value")).offset == 0


def test_a_broker_starts_with_them(tmp_path: Path) -> None:
    if lack := kafka_cluster.missing():
        pytest.skip(lack)
    kafka_jars.fetch()
    kafka = interpolated(raw(), made_env(tmp_path))["services"]["kafka"]
    # The broker's own jars are those of the image.
    assert f"<version>{kafka['image'].split(':')[1]}</version>" in (
        Path(kafka_jars.__file__).with_name("pom.xml").read_text()
    )
    clients, controller = free_port(), free_port()
    file = tmp_path / "server.properties"
    file.write_text(properties(kafka["environment"], tmp_path, clients, controller))
    cluster = kafka["environment"]["CLUSTER_ID"]
    formatted = subprocess.run(
        [*kafka_cluster._JAVA, "kafka.tools.StorageTool", "format", "--cluster-id", cluster,
         "--config", str(file)],
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr
    said = tmp_path / "server.log"
    with said.open("wb") as output:
        broker = subprocess.Popen(
            [*kafka_cluster._JAVA, "kafka.Kafka", str(file)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ready() -> bool:
        text = said.read_text(errors="replace")
        assert broker.poll() is None, text[-4000:]
        return kafka_cluster._READY in text

    try:
        wait_until(ready, 60, f"it is ready, see {said}")
        asyncio.run(use(f"kafka://127.0.0.1:{clients}"))
    finally:
        broker.kill()
        broker.wait(20 * LONGER)

"""Settings: what is wrong is refused by name, and what is documented is what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from support_naiad import LONGER, clean_environment

from naiad_serve.address import Address
from naiad_serve.describing import known_settings, shown
from naiad_serve.settings import SettingsError, load, misspelt, settings_of
from naiad_serve.stages import (
    STAGES,
    AlerterSettings,
    DashboardSettings,
    IngestSettings,
    LiveSettings,
    QuerySettings,
    WriterSettings,
)

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = {
    "NAIAD_EVENT_LOG": "kafka://broker:9092",
    "NAIAD_STORE": "clickhouse://naiad:secret@store:8123",
    "NAIAD_FILES": "file:///srv/files",
    "NAIAD_STATE": "redis://:secret@redis:6379/0",
    "NAIAD_SERVER": "grpc://gateway:7420",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("NAIAD_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("stage", STAGES)
def test_the_least_is_enough(stage: str) -> None:
    settings = load(STAGES[stage])
    assert settings.log_level == "INFO"
    lines = list(shown(settings))
    assert not [line for line in lines if "secret" in line]
    assert len(lines) == len(list(settings_of(STAGES[stage])))


def test_no_two_stages_want_the_same_port() -> None:
    addresses = [load(kind).metrics_listen for kind in STAGES.values()]
    addresses += [load(IngestSettings).listen, load(QuerySettings).listen]
    addresses += [load(DashboardSettings).listen]
    assert len({address.port for address in addresses}) == len(addresses) == 9


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_missing_is_named_all_at_once(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        # Set to nothing, as a template leaves it.
        monkeypatch.setenv(name, "")
    with pytest.raises(SettingsError) as refused:
        load(STAGES[stage])
    required = {name for name, info in settings_of(STAGES[stage]) if info.is_required()}
    assert {line.split()[0] for line in refused.value.lines} == required
    assert required
    assert all(" is not set; set it to " in line for line in refused.value.lines)
    # A terminal can't follow the links of the settings' page.
    assert not any("](" in line for line in refused.value.lines)


BAD = [
    (IngestSettings, "NAIAD_EVENT_LOG", "sqlite:////tmp/log.db", "one process opens"),
    (IngestSettings, "NAIAD_EVENT_LOG", "broker:9092", "is not of the form kafka://"),
    (IngestSettings, "NAIAD_EVENT_LOG", "kafka://", "is not host:port"),
    (IngestSettings, "NAIAD_EVENT_LOG", "kafka://b:1/?colour=red", "unknown option 'colour'"),
    (IngestSettings, "NAIAD_EVENT_LOG", "kafka://b:1/?sasl=PLAIN", "needs a user and a password"),
    (IngestSettings, "NAIAD_FILES", "ftp://host/files", "file:///absolute/folder"),
    (IngestSettings, "NAIAD_FILES", "file://relative", "file:///absolute/folder"),
    (IngestSettings, "NAIAD_FILES", "s3://", "bucket"),
    (IngestSettings, "NAIAD_STATE", "memcached://x", "redis"),
    (IngestSettings, "NAIAD_LIMITS", "project=*:points=5", "points_per_second"),
    (IngestSettings, "NAIAD_LISTEN", "7420", "is not host:port"),
    (IngestSettings, "NAIAD_LISTEN", "127.0.0.1:70000", "ports go from 0 to 65535"),
    (IngestSettings, "NAIAD_METRICS_LISTEN", "here", "is not host:port"),
    (IngestSettings, "NAIAD_LISTEN", "0.0.0.0:7420", "NAIAD_TOKENS is not set"),
    (IngestSettings, "NAIAD_INGEST_MAX_BYTES", "lots", "is not a whole number"),
    (IngestSettings, "NAIAD_INGEST_MAX_BYTES", "1000", "at least 1048576"),
    (IngestSettings, "NAIAD_TLS_CERT", "/absent.pem", "NAIAD_TLS_CERT and NAIAD_TLS_KEY"),
    (IngestSettings, "NAIAD_TLS_CLIENT_CA", "/absent.pem", "NAIAD_TLS_CLIENT_CA needs"),
    (IngestSettings, "NAIAD_DRAIN_SECONDS", "0", "at least 1"),
    (IngestSettings, "NAIAD_DRAIN_SECONDS", "soon", "is not a number"),
    (IngestSettings, "NAIAD_DRAIN_DELAY_SECONDS", "-1", "at least 0"),
    (WriterSettings, "NAIAD_STORE", "postgres://x/y", "clickhouse"),
    (WriterSettings, "NAIAD_STORE", "clickhouse://user:secret@", "no host"),
    (WriterSettings, "NAIAD_STORE", "clickhouse://host:port", "port"),
    (WriterSettings, "NAIAD_STORE", "clickhouse://host:9000", "native protocol"),
    (WriterSettings, "NAIAD_STORE_CLUSTER", "a b", "is not the name of a cluster"),
    (WriterSettings, "NAIAD_STORE", "chdb://folder", "chdb:///absolute/folder"),
    (WriterSettings, "NAIAD_WRITER_BLOCK_ROWS", "0", "at least 1"),
    (WriterSettings, "NAIAD_WRITER_BLOCK_ROWS", "99999999", "at the most"),
    (WriterSettings, "NAIAD_MIGRATE", "perhaps", "neither true nor false"),
    (WriterSettings, "NAIAD_LOG_LEVEL", "LOUD", "is none of"),
    (WriterSettings, "NAIAD_LOG_FORMAT", "xml", "is none of"),
    (LiveSettings, "NAIAD_STATE", "redis//x", "redis"),
    (AlerterSettings, "NAIAD_ALERTS", "/absent.yaml", "/absent.yaml"),
    (QuerySettings, "NAIAD_DASHBOARD_URL", "dashboard", "https://host"),
    (QuerySettings, "NAIAD_QUERY_THREADS", "0", "at least 1"),
    (DashboardSettings, "NAIAD_SERVER", "gateway:7420", "grpc://host:port"),
    (DashboardSettings, "NAIAD_LOGIN", "maybe", "neither true nor false"),
]


@pytest.mark.parametrize(("kind", "name", "value", "said"), BAD)
def test_a_bad_value_is_one_line_with_its_name(
    kind: type[IngestSettings], name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load(kind)
    (line,) = refused.value.lines
    assert name in line
    assert said in line
    assert "\n" not in line
    assert "secret" not in line


def test_every_setting_has_a_bad_value_here() -> None:
    # What is any path or text can't be wrong by itself.
    free = {"NAIAD_TOKENS", "NAIAD_TLS_KEY"}
    assert {name for _, name, _, _ in BAD} | free == known_settings()


def test_a_level_may_be_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_LOG_LEVEL", "debug")
    monkeypatch.setenv("NAIAD_LOG_FORMAT", "JSON")
    assert load(WriterSettings).log_level == "DEBUG"
    assert load(WriterSettings).log_format == "json"


def test_certificate_and_key_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = trustme.CA().issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    monkeypatch.setenv("NAIAD_TLS_CERT", str(chain))
    monkeypatch.setenv("NAIAD_TLS_KEY", str(key))
    tls = load(IngestSettings).tls
    assert tls
    assert tls.certificate == chain
    monkeypatch.setenv("NAIAD_TLS_KEY", str(chain))
    with pytest.raises(SettingsError, match="are not a PEM certificate and its key"):
        load(IngestSettings)


def test_the_dashboard_asks_for_a_login_beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load(DashboardSettings).needs_login
    monkeypatch.setenv("NAIAD_LISTEN", "0.0.0.0:8501")
    assert load(DashboardSettings).needs_login
    monkeypatch.setenv("NAIAD_LOGIN", "false")
    assert not load(DashboardSettings).needs_login


def test_addresses() -> None:
    assert Address.parse("[::1]:7420") == Address("::1", 7420)
    assert str(Address("::1", 7420)) == "[::1]:7420"
    assert Address.parse("0.0.0.0:1").reachable_host == "127.0.0.1"
    for wrong in ("::1:7420", "host:", ":1", "", "host:12ab", "http://host:1"):
        with pytest.raises(ValueError, match="is not host:port"):
            Address.parse(wrong)


def test_a_misspelt_variable_is_told_with_the_right_one() -> None:
    environment = {
        "NAIAD_EVENTLOG": "kafka://x", "NAIAD_WRITER_BLOCKROWS": "1", "NAIAD_STORE": "right",
        # Others' variables.
        "NAIAD_API_TOKEN": "x", "NAIAD_KAFKA_USER": "x", "NAIAD_ENTIRELY_DIFFERENT": "x",
        # What Kubernetes adds for services called naiad-state, naiad-listen.
        "NAIAD_STATE_PORT": "tcp://10.0.0.1:6379", "NAIAD_STATE_SERVICE_HOST": "10.0.0.1",
        "NAIAD_LISTEN_PORT_7420_TCP": "tcp://10.0.0.1:7420", "EVENT_LOG": "x",
    }  # fmt: skip
    assert dict(misspelt(known_settings(), environment)) == {
        "NAIAD_EVENTLOG": "NAIAD_EVENT_LOG",
        "NAIAD_WRITER_BLOCKROWS": "NAIAD_WRITER_BLOCK_ROWS",
    }


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "naiad", "serve", *arguments],
        env=clean_environment(**environment),
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip


def test_the_command_ends_with_2_and_no_traceback() -> None:
    done = serve(
        "writer", NAIAD_STORE="clickhouse://u:secret@h:1x", NAIAD_LOG_LEVEL="LOUD",
        NAIAD_EVENTLOG="kafka://b:1",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert lines[-1].endswith("NAIAD_EVENTLOG is set, which nothing reads; is it meant to be"
                              " NAIAD_EVENT_LOG?")  # fmt: skip
    assert all(line.startswith("naiad serve writer: NAIAD_") for line in lines)
    assert "secret" not in done.stderr


def test_the_command_shows_what_it_would_run_with() -> None:
    done = serve("writer", "--print-settings", NAIAD_WRITER_BLOCK_ROWS="1000", **GOOD)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "NAIAD_WRITER_BLOCK_ROWS=1000" in lines
    assert "NAIAD_STORE=clickhouse://…@store:8123" in lines
    assert "NAIAD_METRICS_LISTEN=127.0.0.1:9465" in lines


def test_docs_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"],
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "settings.md").read_text()
    for stage, kind in STAGES.items():
        for name, info in settings_of(kind):
            assert info.description, f"{name} of {stage} is not described"
            assert f"`{name}`" in page

"""What a kafka:// URL may say; no broker is needed for that."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from naiad_eventlog import EventLogError, open_event_log
from naiad_eventlog.kafka.address import OPTIONS, KafkaAddress

LOGIN = {"NAIAD_KAFKA_USER": "naiad", "NAIAD_KAFKA_PASSWORD": "s3cret"}


def test_servers_and_defaults() -> None:
    address = KafkaAddress.parse("kafka://a,b.example:9093,[::1]:9094", {})
    assert address.servers == ("a:9092", "b.example:9093", "[::1]:9094")
    assert (address.tls, address.sasl, address.prefix) == (None, None, "")
    assert address.client_options()["security_protocol"] == "PLAINTEXT"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("kafka://", "''.*host:port"),
        ("kafka://a:0", "'a:0'.*host:port"),
        ("kafka://a:70000", "'a:70000'"),
        ("kafka://a,,b", "''"),
        ("kafka://a/topic", "'/topic'"),
        ("kafka://a?colour=red", "unknown option 'colour'.*prefix"),
        ("kafka://a?prefix=a/b", "prefix=a/b"),
        ("kafka://a?tls=yes", "tls=yes"),
        ("kafka://a?ca=/x", "ca=.*tls=true"),
        ("kafka://a?tls=true&ca=/absent.pem", "ca=/absent.pem"),
        ("kafka://a?tls=true&cert=/x.pem", "cert= and key="),
        ("kafka://a?tls=true&cert=/absent&key=/absent", "cert=/absent"),
        ("kafka://a?sasl=GSSAPI", "sasl=GSSAPI"),
        ("kafka://a?sasl=PLAIN", "NAIAD_KAFKA_USER"),
        ("kafka://u:p@a", "sasl="),
        ("kafka://a?replication=0", "replication=0"),
        ("kafka://a?retention_hours=soon", "retention_hours=soon"),
        ("kafka://a?append_seconds=0.5", "append_seconds=0.5"),
        ("kafka://a?session_seconds=1e9", "session_seconds=1e9"),
    ],
)
def test_what_is_wrong_is_named(url: str, named: str) -> None:
    with pytest.raises(EventLogError, match=named):
        KafkaAddress.parse(url, {})


def test_each_option_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "eventlog.md").read_text()
    assert [name for name in OPTIONS if f"| `{name}` |" not in page] == []


def test_the_login_comes_from_the_url_or_the_environment_and_is_not_shown() -> None:
    for url, environment in (
        ("kafka://naiad:s3cret@a:1/?sasl=SCRAM-SHA-512", {}),
        ("kafka://a:1/?sasl=SCRAM-SHA-512", LOGIN),
    ):
        address = KafkaAddress.parse(url, environment)
        options = address.client_options()
        assert options["security_protocol"] == "SASL_PLAINTEXT"
        assert options["sasl_plain_username"] == "naiad"
        assert options["sasl_plain_password"] == "s3cret"
        assert "s3cret" not in f"{address} {address.named}"
    with pytest.raises(EventLogError) as refused:
        KafkaAddress.parse("kafka://naiad:s3cret@a:1/?sasl=SCRAM-SHA-512&colour=red", {})
    assert "s3cret" not in str(refused.value)


def test_tls_checks_the_broker_with_the_given_authority(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    address = KafkaAddress.parse(f"kafka://a?tls=true&ca={tmp_path / 'ca.pem'}", {})
    assert address.tls
    assert address.tls.verify_mode is ssl.CERT_REQUIRED
    assert address.tls.check_hostname
    assert address.client_options()["security_protocol"] == "SSL"


async def test_a_cluster_that_is_not_there_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(EventLogError, match=f"127.0.0.1:{port} can't be reached"):
            await open_event_log(f"kafka://127.0.0.1:{port}")

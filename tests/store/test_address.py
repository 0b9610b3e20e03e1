"""URLs of stores: what each word means, and every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from naiad_store import Store, StoreError
from naiad_store.address import Cluster, parse_address

SECRET = "hunter2"
AT = f"clickhouse://naiad:{SECRET}@db.example:8123"
AT_TLS = f"clickhouses://naiad:{SECRET}@db.example"


def test_what_a_url_says(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    plain = parse_address("clickhouse://db.example", environ={})
    assert (plain.host, plain.port, plain.user, plain.password) == ("db.example", 8123, "", "")
    assert (plain.database, plain.tls, plain.verify, plain.cluster) == ("naiad", False, True, None)
    full = parse_address(
        f"clickhouses://me:p%40ss%2Fw%23rd@[::1]:9443/runs?ca={ca}&pool=3&timeout=7"
        "&connect_timeout=2&cluster=main",
        environ={},
    )
    assert (full.host, full.port, full.user, full.password) == ("::1", 9443, "me", "p@ss/w#rd")
    assert (full.database, full.tls, full.ca, full.pool) == ("runs", True, ca, 3)
    assert (full.timeout, full.connect_timeout, full.cluster) == (7, 2, Cluster("main"))
    assert parse_address(AT_TLS, environ={}).port == 8443
    assert parse_address(f"{AT}/runs", "other").database == "other"
    assert parse_address("clickhouses://h?verify=0").verify is False
    assert parse_address("chdb:///a/../b").folder == Path("/b")


def test_the_cluster_may_stand_in_the_environment() -> None:
    named = parse_address(AT, environ={"NAIAD_STORE_CLUSTER": "main"})
    assert named.cluster == Cluster("main")
    both = parse_address(f"{AT}/?cluster=mine&sharded=1", environ={"NAIAD_STORE_CLUSTER": "main"})
    assert both.cluster == Cluster("mine", sharded=True)
    path = "/ch/{shard}/{database}/{table}"
    placed = parse_address(f"{AT}/?replica_path={path}&replica_name={{replica}}&cluster=m")
    assert placed.cluster == Cluster("m", False, path, "{replica}")
    assert parse_address("chdb:///x", environ={"NAIAD_STORE_CLUSTER": "main"}).cluster is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://x", "unknown scheme 'mysql'; use chdb:///"),
        ("", "unknown scheme ''"),
        ("db.example:8123", "unknown scheme"),
        (f"http://naiad:{SECRET}@db.example", "unknown scheme 'http'"),
        ("chdb://folder/x", "not of the form chdb:///"),
        ("chdb:///", "not of the form chdb:///"),
        ("chdb:///x?pool=3", "takes no options"),
        ("clickhouse://", "names no host"),
        (f"clickhouse://:{SECRET}@", "names no host"),
        (f"clickhouse://naiad:{SECRET}@db:x", "port is not a number"),
        (f"clickhouse://naiad:{SECRET}@db:70000", "port is not a number"),
        (
            f"clickhouse://naiad:{SECRET}@db:9000",
            "9000 is the port of ClickHouse's native",
        ),
        (f"clickhouses://naiad:{SECRET}@db:9440", "name that of HTTP, usually 8443"),
        (f"clickhouse://naiad:{SECRET}@[::1", "is no URL"),
        (f"{AT}/my-runs", "'my-runs' is not the name of a database"),
        (f"{AT}/a/b", "'a/b' is not the name of a database"),
        (f"{AT}/x#y", "a password is spelled %23"),
        (f"clickhouse://naiad:{SECRET}#x@db", "%23"),
        (f"clickhouse://naiad:{SECRET}/x@db", "port is not a number"),
        (f"{AT}?poll=3", "there is no option 'poll'; there are ca, verify, pool"),
        (f"{AT}?password={SECRET}", "password belongs before the host"),
        (f"{AT}?pool=0", "pool='0' is not a whole number from 1 to 1000"),
        (f"{AT}?pool=many", "pool='many' is not"),
        (f"{AT}?pool=3&pool=4", "pool is given twice"),
        (f"{AT}?timeout=", "timeout is empty"),
        (f"{AT}?verify=0", "ca and verify are for TLS"),
        (f"{AT_TLS}?verify=no", "verify='no' is neither 0 nor 1"),
        (f"{AT_TLS}?ca=/nowhere.pem", "ca='/nowhere.pem' is not a file"),
        (f"{AT_TLS}?ca={__file__}&verify=0", "leave one out"),
        (f"{AT}?cluster=a b", "cluster='a b' is not the name of a cluster"),
        (f"{AT}?sharded=1", "sharded needs cluster=NAME"),
        (f"{AT}?cluster=a&replica_path=/x/{{shard}}/{{table}}", "go together"),
        (f"{AT}?cluster=a&replica_path=/x&replica_name={{replica}}", "needs {shard} and {table}"),
    ],
)
def test_mistakes_are_named_without_the_password(url: str, message: str) -> None:
    with pytest.raises(StoreError) as told:
        Store.open(url)
    assert message in str(told.value)
    assert SECRET not in str(told.value)
    assert SECRET not in repr(told.value.__cause__)


def test_an_address_does_not_show_its_password() -> None:
    assert SECRET not in repr(parse_address(AT)) + parse_address(AT).shown


def test_a_wrong_cluster_in_the_environment_is_named() -> None:
    with pytest.raises(StoreError, match=r"NAIAD_STORE_CLUSTER='a b' is not the name"):
        parse_address(AT, environ={"NAIAD_STORE_CLUSTER": "a b"})

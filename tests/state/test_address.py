"""What a URL may say, and that no message holds a password."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from naiad_state import State, StateAddress, StateUrlError

PASSWORD = "s3cret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://here", StateAddress(host="here")),
        ("redis://here:6380/3", StateAddress(host="here", port=6380, db=3)),
        ("redis://here:6380/", StateAddress(host="here", port=6380)),
        ("redis://[::1]:6380", StateAddress(host="::1", port=6380)),
        ("redis://:p%40ss%2F@here", StateAddress(host="here", password="p@ss/")),
        ("redis://ann:pw@here/1", StateAddress(host="here", user="ann", password="pw", db=1)),
        ("rediss://here", StateAddress(host="here", tls=True)),
        ("unix:///run/redis.sock", StateAddress(socket="/run/redis.sock")),
        ("unix:///run/re%20dis.sock?db=2", StateAddress(socket="/run/re dis.sock", db=2)),
        ("unix://ann:pw@/run/redis.sock", StateAddress(
            socket="/run/redis.sock", user="ann", password="pw")),
    ],
)  # fmt: skip
def test_what_a_url_says(url: str, expected: StateAddress) -> None:
    assert StateAddress.parse(url, {}) == expected


def test_the_login_may_stand_in_the_environment() -> None:
    environment = {"NAIAD_STATE_USER": "ann", "NAIAD_STATE_PASSWORD": PASSWORD}
    assert StateAddress.parse("redis://here", environment).password == PASSWORD
    both = StateAddress.parse("redis://bob:other@here", environment)
    assert (both.user, both.password) == ("bob", "other")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "redis://host:port/number"),
        ("here:6379", "redis://host:port/number"),
        (f"{PASSWORD}@here", "redis://host:port/number"),
        (f"http://:{PASSWORD}@here", "redis://host:port/number"),
        ("redis://", "does not name one host"),
        ("redis://a,b", "does not name one host"),
        ("redis://here:0", "does not name one host"),
        ("redis://here:65536", "does not name one host"),
        (f"redis://user:{PASSWORD}", "user:password@host:port"),
        (f"redis://:{PASSWORD}/more@here", "%2F"),
        (f"redis://:{PASSWORD}?more@here", "%3F"),
        (f"redis://:{PASSWORD}#more@here", "%23"),
        (f"redis://:{PASSWORD}@[here", "is none"),
        (f"redis://:{PASSWORD}@{'h' * 70}", "no host's name"),
        ("redis://here/one", "'one' .* no number of a database"),
        ("redis://here/0/1", "'0/1' .* no number of a database"),
        ("redis://here/²", "no number of a database"),
        ("redis://here?db=1", "'db'.*redis://host/2"),
        ("redis://here?ca=/ca.pem", "'ca'.*TLS is rediss://"),
        ("rediss://here?ssl_cert_reqs=none", "'ssl_cert_reqs'.*it takes ca"),
        ("rediss://here?ca=", "ca= .* is empty"),
        ("rediss://here?ca=/nowhere/ca.pem", "ca=/nowhere/ca.pem .* can't be used"),
        ("rediss://here?cert=/a", "go together"),
        ("rediss://here?cert=/nowhere/a&key=/nowhere/b", "cert=/nowhere/a .* can't be used"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///", "three slashes"),
        ("unix:///run/redis.sock?db=x", "'x' .* no number"),
    ],
)
def test_a_url_that_cant_be_used_is_refused_by_name(url: str, says: str) -> None:
    with pytest.raises(StateUrlError, match=says) as caught:
        State.open(url)
    assert PASSWORD not in str(caught.value)
    cause = caught.value.__cause__
    assert PASSWORD not in str(cause)


def test_no_text_of_an_address_holds_the_password() -> None:
    address = StateAddress.parse(f"redis://ann:{PASSWORD}@here:7/2", {})
    assert address.named == "Redis at redis://here:7/2"
    assert PASSWORD not in repr(address) + str(address) + address.named


def test_certificates_are_read_at_once(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert StateAddress.parse(f"rediss://here?ca={tmp_path}/ca.pem", {}).tls
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(StateUrlError, match=r"ca\.pem"):
        StateAddress.parse(f"rediss://here?ca={tmp_path}/ca.pem", {})

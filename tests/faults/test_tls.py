"""TLS both ways, from a run to the rows: who may not connect loses nothing either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from support_bench import Bench
from support_naiad import LONGER, Naiad, running_naiad, wait_until

import naiad
from naiad.exceptions import NaiadValueError
from naiad.spool.folder import read_progress, read_token, spools

LOG = "diary = keeper('w')\nfor step in range(50): diary.step(step)\n"
# Until the shipper, which starts beside it, has said what is in the way.
TROUBLE = """
while {!r} not in run._session.progress().get("trouble", ""): time.sleep(0.02)
"""


@dataclass
class Certificates:
    ca: Path
    client: Path
    client_key: Path
    server: Path
    server_key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, issued in (
        ("server", authority.issue_cert("localhost", "127.0.0.1")),
        ("client", authority.issue_cert("trainer@example.org")),
    ):
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (folder / f"{name}.pem").write_bytes(chain)
    return Certificates(
        folder / "ca.pem", folder / "client.pem", folder / "client.key",
        folder / "server.pem", folder / "server.key",
    )  # fmt: skip


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Naiad]:
    """A platform that only knows clients with a certificate."""
    with running_naiad(
        tmp_path_factory.mktemp("guarded") / "data",
        "--tls-cert", str(certificates.server), "--tls-key", str(certificates.server_key),
        "--tls-client-ca", str(certificates.ca),
    ) as naiad:  # fmt: skip
        yield naiad


@pytest.fixture
def bench(
    tmp_path: Path, guarded: Naiad, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    bench = Bench(tmp_path, guarded, seed=1)
    yield bench
    bench.close()


@pytest.fixture
def reading(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test itself reads back with these."""
    monkeypatch.setenv("NAIAD_TLS_CA", str(certificates.ca))
    monkeypatch.setenv("NAIAD_TLS_CERT", str(certificates.client))
    monkeypatch.setenv("NAIAD_TLS_KEY", str(certificates.client_key))


@pytest.mark.usefixtures("reading")
def test_a_client_shows_its_certificate(bench: Bench, certificates: Certificates) -> None:
    process = bench.script(
        LOG, NAIAD_TLS_CA=str(certificates.ca), NAIAD_TLS_CERT=str(certificates.client),
        NAIAD_TLS_KEY=str(certificates.client_key),
    )  # fmt: skip
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    assert "not sent yet" not in errors
    bench.check(least=50)


@pytest.mark.usefixtures("reading")
def test_without_one_everything_waits_and_sync_brings_it(
    bench: Bench, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = bench.script(LOG + "run.close(timeout=3)", NAIAD_TLS_CA=str(certificates.ca))
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0
    assert "records are not sent yet" in errors
    (spool,) = spools(bench.host)
    # Nothing said so far is nothing sent.
    assert read_progress(spool).get("acknowledged", 0) == 0
    bench.kill_shippers()
    monkeypatch.setattr(
        bench, "environment",
        lambda: Bench.environment(
            bench, NAIAD_TLS_CERT=str(certificates.client),
            NAIAD_TLS_KEY=str(certificates.client_key),
        ),
    )  # fmt: skip
    bench.sync()
    bench.check(least=50)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"tls_ca": "nowhere.pem"}, "there is no file"),
        ({"tls_cert": __file__}, "belong together"),
        ({"tls_key": __file__}, "belong together"),
    ],
)
def test_wrong_files_are_told_at_once(
    files: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could only fail in the shipper, where nobody looks."""
    for name in ("NAIAD_TLS_CA", "NAIAD_TLS_CERT", "NAIAD_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NaiadValueError, match=told):
        naiad.Run(project="a/b", url="grpcs://127.0.0.1:1", **files)  # type: ignore[arg-type]


def test_a_file_that_is_no_certificate_is_told_by_the_shipper(
    bench: Bench, certificates: Certificates
) -> None:
    wrong = bench.folder / "wrong.pem"
    wrong.write_text("nonsense")
    told = TROUBLE.format("holds no CA certificate")
    process = bench.script(LOG + told + "run.close(timeout=4)", NAIAD_TLS_CA=str(wrong))
    _, errors = process.communicate(timeout=60 * LONGER)
    assert "are not sent yet" in errors
    assert f"{wrong} holds no CA certificate" in errors


TOKENS = """
import os, stat, sys
from pathlib import Path
root = Path(os.environ["NAIAD_LOG_DIRECTORY"])
(token,) = root.rglob("token")
assert stat.S_IMODE(token.stat().st_mode) == 0o600, oct(token.stat().st_mode)
"""


@pytest.mark.long
def test_a_token_goes_with_the_last_acknowledgement_and_sync_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_naiad(tmp_path / "data", "--login") as platform:
        # Another pipe than that of the ready line.
        wait_until(lambda: any("NAIAD_API_TOKEN=" in s for s in platform.errors), 10, "a token")
        line = next(line for line in platform.errors if "NAIAD_API_TOKEN=" in line)
        token = line.split("NAIAD_API_TOKEN=")[1].split()[0]
        # The test itself reads back with it.
        monkeypatch.setenv("NAIAD_API_TOKEN", token)
        bench = Bench(tmp_path, platform, seed=1)
        # A wrong one: nothing arrives, nothing is given up.
        wrong = "naiad_" + "x" * 40
        told = TROUBLE.format("NAIAD_API_TOKEN")
        process = bench.script(LOG + TOKENS + told + "run.close(timeout=3)", NAIAD_API_TOKEN=wrong)
        _, errors = process.communicate(timeout=60 * LONGER)
        assert process.returncode == 0, errors
        assert "NAIAD_API_TOKEN" in errors
        (spool,) = spools(bench.host)
        assert read_token(spool) == wrong
        assert read_progress(spool)["acknowledged"] == 0
        bench.kill_shippers()
        bench.sync("--token", token)
        bench.check(least=50)
        assert not list(bench.root.rglob("token"))
        everything = [file for file in bench.root.rglob("*") if file.is_file()]
        assert not [file for file in everything if wrong.encode() in file.read_bytes()]
        assert not [file for file in everything if token.encode() in file.read_bytes()]
        wait_until(lambda: not bench.shippers(), 20, "no shipper is left")
        bench.close()

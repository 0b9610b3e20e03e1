"""Where a run's code came from: git, command, packages, host, job."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from naiad import _platform
from naiad._configs import ConfigValue
from naiad._git import Git
from naiad._secrets import without_password, without_secrets
from naiad.types import File, SourceTrackingConfig
from naiad_proto.limits import MAX_STRING_BYTES

MAX_DIFF_BYTES = 10 * 1024 * 1024
_CUT = b"\n[cut here: the diff is longer than 10 MiB]\n"

# Names of variables that say where a job runs. Only these: the rest may be secrets.
_JOB_VARIABLES = (
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_PROCID", "SLURM_NODEID", "SLURM_NTASKS",
    "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION",
    "KUBERNETES_NAMESPACE", "POD_NAME", "POD_NAMESPACE", "JOB_COMPLETION_INDEX",
    "TRAINING_JOB_NAME", "SM_CURRENT_HOST", "SM_CURRENT_INSTANCE_TYPE",
    "RAY_JOB_ID", "RAY_NODE_ID", "PBS_JOBID", "LSB_JOBID",
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE",
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID",
    "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Source:
    """What `config` asks for. What can't be told is left out; never raises."""

    def __init__(self, config: SourceTrackingConfig) -> None:
        self._config = config
        self._git = _git()

    def attributes(self) -> dict[str, ConfigValue]:
        """Facts by path."""
        config = self._config
        found: dict[str, ConfigValue] = {}
        if config.upload_run_command:
            found["command"] = shlex.join(without_secrets(_command()))
            with contextlib.suppress(OSError):
                found["working_folder"] = os.getcwd()
        if config.track_git:
            found.update(_git_facts(self._git))
        if config.track_packages:
            found["python/version"] = sys.version.partition(" ")[0]
            found["python/executable"] = sys.executable
            found["python/packages"] = _packages()
        if config.track_host:
            found.update(_host())
        return {f"{config.namespace}/{name}": value for name, value in found.items() if value != ""}

    def files(self) -> dict[str, File]:
        """Diffs and the entry point, by path."""
        config = self._config
        files: dict[str, File] = {}
        if config.upload_entry_point and (script := _entry_point()):
            files["entry_point"] = File(str(script))
        for wanted, base, name in (
            (config.upload_diff_head, "HEAD", "diff_head"),
            (config.upload_diff_upstream, "@{upstream}", "diff_upstream"),
        ):
            if wanted and (diff := _diff(self._git, base)):
                files[f"git/{name}"] = File(diff, "text/x-diff", destination=f"{name}.patch")
        return {f"{config.namespace}/{name}": file for name, file in files.items()}


def _command() -> list[str]:
    # orig_argv has the interpreter and its flags; -c would have the whole program.
    return ["python", "-c", "…"] if sys.argv[:1] == ["-c"] else list(sys.orig_argv or sys.argv)


def _entry_point() -> Path | None:
    main = sys.modules.get("__main__")
    name = getattr(main, "__file__", None)
    if not name:
        return None
    with contextlib.suppress(OSError):
        path = Path(name).absolute()
        if path.is_file() and path.stat().st_size <= MAX_DIFF_BYTES:
            return path
    return None


# --- git ---------------------------------------------------------------------------------------


def _git() -> Git:
    """Of the working folder, or where that is in no repository, of the script that runs."""
    script = _entry_point()
    try:
        here = Path.cwd()
    except OSError:
        # It was removed.
        here = Path("/")
    for folder in (here, *here.parents):
        if (folder / ".git").exists():
            return Git(here)
    return Git(script.parent if script else here)


def _git_facts(git: Git) -> dict[str, ConfigValue]:
    commit = git.line("rev-parse", "--verify", "-q", "HEAD")
    if not commit:
        return {}
    facts: dict[str, ConfigValue] = {"git/commit": commit}
    # None where HEAD is detached.
    facts["git/branch"] = git.line("symbolic-ref", "--short", "-q", "HEAD")
    facts["git/message"] = git.line("log", "-1", "--format=%s")
    facts["git/author"] = git.line("log", "-1", "--format=%an <%ae>")
    facts["git/remote"] = without_password(git.line("config", "--get", "remote.origin.url"))
    # As `git describe --dirty`: what git does not track says nothing about the commit.
    status = git.ask("status", "--porcelain", "--untracked-files=no")
    if status is not None:
        facts["git/dirty"] = bool(status.strip())
    return facts


def _diff(git: Git, base: str) -> bytes:
    diff = git.ask("diff", "--no-ext-diff", "--no-textconv", base, most=MAX_DIFF_BYTES) or b""
    return diff if len(diff) <= MAX_DIFF_BYTES else diff[:MAX_DIFF_BYTES] + _CUT


# --- surroundings ------------------------------------------------------------------------------


# Where a package's own folder has its metadata, by the folder's ending.
_METADATA = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}


def _packages() -> str:
    """As pip freeze has them, a line each.

    From the first lines of the installed packages' metadata: importlib.metadata parses all of
    each file by means of `email`, which would stay in the training's memory: 3 MB.
    """
    lines: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                # What comes first on the path is what is imported.
                if found := _package(entry):
                    name, version = found
                    lines.setdefault(re.sub(r"[-_.]+", "-", name).lower(), f"{name}=={version}")
    text = "\n".join(lines[key] for key in sorted(lines))
    return text.encode()[:MAX_STRING_BYTES].decode("utf-8", "ignore")


def _package(entry: os.DirEntry[str]) -> tuple[str, str] | None:
    """Name and version of the package whose metadata the entry is."""
    file = _METADATA.get(os.path.splitext(entry.name)[1])
    if file is None:
        return None
    found: dict[str, str] = {}
    with (
        contextlib.suppress(OSError),
        open(os.path.join(entry.path, file), encoding="utf-8", errors="replace") as lines,
    ):
        for line in lines:
            key, colon, value = line.partition(":")
            if not colon or len(found) == 2:
                break
            if key in {"Name", "Version"}:
                found[key] = value.strip()
    return (found["Name"], found["Version"]) if len(found) == 2 else None


def _host() -> dict[str, ConfigValue]:
    facts: dict[str, ConfigValue] = {"host/name": _platform.node_name(), "host/pid": os.getpid()}
    with contextlib.suppress(Exception):
        import getpass

        facts["host/user"] = getpass.getuser()
    if container := _container():
        facts["host/container"] = container
    for name in _JOB_VARIABLES:
        if value := os.environ.get(name):
            facts[f"job/{name.lower()}"] = value[:1000]
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        facts.setdefault("job/pod_name", _platform.node_name())
        with contextlib.suppress(OSError):
            facts.setdefault("job/pod_namespace", _POD_NAMESPACE.read_text().strip())
    facts.update(_ray())
    return facts


def _ray() -> dict[str, ConfigValue]:
    """As Ray says, where the training uses it."""
    ray = sys.modules.get("ray")
    facts: dict[str, ConfigValue] = {}
    with contextlib.suppress(Exception):
        context = ray.get_runtime_context()  # type: ignore[union-attr]
        facts["job/ray_job_id"] = str(context.get_job_id())
        facts["job/ray_node_id"] = str(context.get_node_id())
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

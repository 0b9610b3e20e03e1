"""What is recorded of the code: with real repositories, and without secrets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import types
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_naiad import LONGER, clean_environment, wait_until

from naiad import SourceTrackingConfig, _git, _source
from naiad._secrets import MASK, without_password, without_secrets
from naiad._source import Source
from naiad.spool.folder import host_folder, spools
from naiad.spool.reader import ItemRow, SpoolReader
from naiad_proto.v1 import records_pb2 as pb

EVERYTHING = SourceTrackingConfig(namespace="s")
NOTHING = SourceTrackingConfig(
    "s", **{f.name: False for f in fields(EVERYTHING) if f.name != "namespace"}
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With one commit, as the working folder."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    # On a slow machine git gives no fewer answers.
    monkeypatch.setattr(_git.Git.__init__, "__defaults__", (60.0 * LONGER,))
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "-q", "-b", "trunk")
    git("config", "user.name", "Ann")
    git("config", "user.email", "ann@example.org")
    (folder / "train.py").write_text("lr = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first\n\nmore")
    return folder


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def facts() -> dict[str, Any]:
    found = Source(EVERYTHING).attributes()
    return {name.removeprefix("s/"): value for name, value in found.items()}


def diff(name: str = "diff_head") -> bytes:
    file = Source(EVERYTHING).files().get(f"s/git/{name}")
    assert file is None or isinstance(file.source, bytes)
    return file.source if file else b""  # type: ignore[return-value]


# --- git ---------------------------------------------------------------------------------------


def test_a_repository_is_told(repository: Path) -> None:
    git("remote", "add", "origin", "https://ann:hunter2@example.org/ann/p.git")
    found = facts()
    assert found["git/commit"] == git("rev-parse", "HEAD")
    assert found["git/branch"] == "trunk"
    assert found["git/message"] == "first"
    assert found["git/author"] == "Ann <ann@example.org>"
    assert found["git/remote"] == "https://example.org/ann/p.git"
    assert found["git/dirty"] is False
    assert diff() == b""


def test_changes_are_the_diff_also_from_a_folder_within(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "train.py").write_text("lr = 2\n")
    (repository / "staged.py").write_text("new = 1\n")
    git("add", "staged.py")
    (repository / "untracked.py").write_text("mine = 1\n")
    inside = repository / "deep" / "er"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    index = (repository / ".git" / "index").read_bytes()
    found = facts()
    changes = diff().decode()
    assert found["git/dirty"] is True
    assert "-lr = 1\n+lr = 2\n" in changes
    assert "+new = 1\n" in changes
    assert "untracked" not in changes
    # Looking changed nothing.
    assert (repository / ".git" / "index").read_bytes() == index


def test_files_that_git_does_not_track_do_not_make_it_dirty(repository: Path) -> None:
    (repository / "notes.txt").write_text("x")
    assert facts()["git/dirty"] is False


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git("checkout", "-q", "--detach")
    found = facts()
    assert "git/branch" not in found
    assert found["git/commit"] == git("rev-parse", "HEAD")


def test_what_is_not_pushed_is_a_diff_of_its_own(repository: Path, tmp_path: Path) -> None:
    git("clone", "-q", "--bare", str(repository), str(tmp_path / "origin"))
    git("remote", "add", "origin", str(tmp_path / "origin"))
    git("fetch", "-q", "origin")
    git("branch", "-q", "--set-upstream-to=origin/trunk")
    (repository / "train.py").write_text("lr = 3\n")
    git("commit", "-q", "-a", "-m", "local")
    assert diff() == b""
    assert b"+lr = 3" in diff("diff_upstream")


def test_no_repository_no_commit_no_git(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(repository / ".git")
    # The script that runs may stand in a repository: the one of these tests.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert not any(name.startswith("git/") for name in facts())
    git("init", "-q")
    assert not any(name.startswith("git/") for name in facts())
    monkeypatch.setenv("PATH", str(tmp_path))
    found = facts()
    assert not any(name.startswith("git/") for name in found)
    assert found["python/version"]
    assert diff() == b""


def test_a_huge_diff_is_cut_and_never_whole_in_memory(repository: Path) -> None:
    (repository / "train.py").write_text("x" * 99 + "\n")
    with (repository / "train.py").open("a") as file:
        for _ in range(20):
            file.write(("y" * 99 + "\n") * 10_000)
    cut = diff()
    assert _source.MAX_DIFF_BYTES < len(cut) < _source.MAX_DIFF_BYTES + 100
    assert cut.endswith(b"[cut here: the diff is longer than 10 MiB]\n")


def test_a_filter_that_hangs_costs_its_bound_and_is_ended(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = repository / "filter-pid"
    git("config", "filter.slow.clean", f"sh -c 'echo $$ > {mark}; exec sleep 600'")
    (repository / ".gitattributes").write_text("*.bin filter=slow\n")
    (repository / "data.bin").write_text("1")
    git("-c", "filter.slow.clean=cat", "add", ".")
    git("-c", "filter.slow.clean=cat", "commit", "-q", "-m", "data")
    (repository / "data.bin").write_text("22")
    hangs_since: list[float] = []

    def hangs() -> bool:
        if not hangs_since and mark.exists() and mark.read_text().endswith("\n"):
            hangs_since.append(time.monotonic())
        return bool(hangs_since)

    class Reader(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            while self.is_alive() and not hangs():
                super().join(0.02)
            super().join(timeout)

    # Its time begins when the filter hangs, however long it takes to get there.
    clock = types.SimpleNamespace(
        monotonic=lambda: time.monotonic() - hangs_since[0] if hangs() else 0.0
    )
    monkeypatch.setattr(_git, "threading", types.SimpleNamespace(Thread=Reader))
    monkeypatch.setattr(_git, "time", clock)
    monkeypatch.setattr(_git.Git.__init__, "__defaults__", (2.0,))
    begin = time.monotonic()
    source = Source(EVERYTHING)
    found = source.attributes()
    assert source.files().keys() <= {"s/entry_point"}
    assert time.monotonic() - begin < 60 * LONGER
    assert found["s/git/commit"]
    pid = int(mark.read_text())
    wait_until(lambda: "sleep" not in _command_of(pid), 10, "the filter has ended")


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_file_system_monitor_is_not_asked(repository: Path, tmp_path: Path) -> None:
    hook = tmp_path / "monitor"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nsleep 600\n")
    hook.chmod(0o755)
    git("config", "core.fsmonitor", str(hook))
    (repository / "train.py").write_text("lr = 4\n")
    assert b"+lr = 4" in diff()
    assert not (tmp_path / "asked").exists()


SCRIPT = """
import time, naiad
run = naiad.Run(project="team/p", run_id="r", mode="offline", hardware_interval=None,
                enable_console_log_capture=False)
run.close()
"""


def test_a_run_with_everything_arrives_and_a_hanging_git_ends_in_time(
    repository: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\nsleep 600\n")
    (programs / "git").chmod(0o755)
    (repository / "script.py").write_text(SCRIPT)
    begin = time.monotonic()
    subprocess.run(
        [sys.executable, "script.py", "--api-key", "hunter2", "--lr=3"],
        check=True, timeout=100 * LONGER,
        env=clean_environment(
            PATH=f"{programs}:{os.environ['PATH']}", NAIAD_QUIET="1",
            NAIAD_LOG_DIRECTORY=str(tmp_path / "root"), MY_PASSWORD="hunter2", SLURM_JOB_ID="77",
        ),
    )  # fmt: skip
    assert time.monotonic() - begin < 90 * LONGER
    (spool,) = spools(host_folder(tmp_path / "root"))
    rows = [
        pb.Item.FromString(row.item)
        for row in SpoolReader(spool).rows(2**24, writer_lives=False)
        if isinstance(row, ItemRow)
    ]
    values = {row.set_attribute.path: row.set_attribute.value for row in rows}
    command = values["source_code/command"].string_value
    assert command.endswith("script.py --api-key '***' --lr=3")
    assert values["source_code/job/slurm_job_id"].string_value == "77"
    assert "source_code/entry_point" in values
    assert "hunter2" not in str(rows)


# --- switches and surroundings -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "prefixes"),
    [
        ("upload_entry_point", {"entry_point"}),
        ("upload_diff_head", {"git"}),
        ("upload_run_command", {"command", "working_folder"}),
        ("track_git", {"git"}),
        ("track_packages", {"python"}),
        ("track_host", {"host", "job"}),
    ],
)
def test_each_part_has_its_switch(
    repository: Path, switch: str, prefixes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    main = types.ModuleType("__main__")
    main.__file__ = str(repository / "train.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    (repository / "train.py").write_text("lr = 5\n")
    config = SourceTrackingConfig(**{**vars(NOTHING), switch: True})
    source = Source(config)
    found = source.attributes().keys() | source.files().keys()
    assert {name.split("/")[1] for name in found} == prefixes
    nothing = Source(NOTHING)
    assert not nothing.attributes()
    assert not nothing.files()


def test_jobs_are_told_and_no_other_variable(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "SLURM_JOB_ID": "7", "TRAINING_JOB_NAME": "sage", "TORCHELASTIC_RUN_ID": "t",
        "RANK": "3", "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setattr(_source, "_POD_NAMESPACE", tmp_path / "namespace")
    (tmp_path / "namespace").write_text("research\n")
    ray = types.ModuleType("ray")
    context = types.SimpleNamespace(get_job_id=lambda: "01", get_node_id=lambda: "n2")
    ray.get_runtime_context = lambda: context  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    found = facts()
    assert found["job/slurm_job_id"] == "7"
    assert found["job/training_job_name"] == "sage"
    assert found["job/torchelastic_run_id"] == "t"
    assert found["job/rank"] == "3"
    assert found["job/pod_name"] == found["host/name"]
    assert found["job/pod_namespace"] == "research"
    assert (found["job/ray_job_id"], found["job/ray_node_id"]) == ("01", "n2")
    assert "hunter2" not in str(found)
    assert "10.0.0.1" not in str(found)


def test_containers_are_found_by_their_control_group() -> None:
    identity = "ab" * 32
    for line in (f"0::/docker/{identity}", f"0::/kubepods/burstable/pod1/{identity}"):
        assert _source._container({"/proc/self/cgroup": line}) == identity
    assert _source._container({"/proc/self/cgroup": "0::/user.slice"}) == ""


def test_a_working_folder_that_is_gone_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = facts()
    assert "working_folder" not in found
    assert found["python/version"]
    monkeypatch.undo()


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--api-key=abc"], [f"--api-key={MASK}"]),
        (["--api_key", "abc", "x"], ["--api_key", MASK, "x"]),
        (["--wandb.apiKey=abc"], [f"--wandb.apiKey={MASK}"]),
        (["--db-password", "-x"], ["--db-password", "-x"]),
        (["HF_TOKEN=abc", "lr=3"], [f"HF_TOKEN={MASK}", "lr=3"]),
        (["logger.secret=a=b"], [f"logger.secret={MASK}"]),
        (["--url", "http://ann:pw@host/x"], ["--url", f"http://{MASK}@host/x"]),
        (["hf_" + "a" * 30], [MASK]),
        (["--x=ghp_" + "B" * 36], [f"--x={MASK}"]),
        # Not secrets.
        (["--max-tokens=512", "--tokenizer", "bpe"], ["--max-tokens=512", "--tokenizer", "bpe"]),
        (["--token-file=/run/t", "--eos-token-id=2"], ["--token-file=/run/t", "--eos-token-id=2"]),
        (["--key=value", "token", "x"], ["--key=value", "token", "x"]),
        (["--author=me@host", "sk-learn"], ["--author=me@host", "sk-learn"]),
    ],
)
def test_what_looks_like_a_secret_is_masked(given: list[str], kept: list[str]) -> None:
    assert without_secrets(given) == kept


@given(
    st.lists(st.text(max_size=20), max_size=5),
    st.sampled_from(["--password", "--api-key", "--hf_token", "--client-secret"]),
    st.text(alphabet="abcdefgh123", min_size=8, max_size=20),
    st.booleans(),
)
def test_no_secret_survives(others: list[str], name: str, value: str, joined: bool) -> None:
    value = f"zz{value}"
    secret = [f"{name}={value}"] if joined else [name, value]
    assert value not in " ".join(without_secrets([*secret, *others]))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ann:pw@example.org/p.git", "https://example.org/p.git"),
        ("https://token@example.org:8443/p.git", "https://example.org:8443/p.git"),
        ("git@example.org:ann/p.git", "git@example.org:ann/p.git"),
        ("https://a:b@c@example.org/p", "https://example.org/p"),
        ("https://[bad:pw@example.org/p", "https://example.org/p"),
        ("/srv/p.git", "/srv/p.git"),
    ],
)
def test_remotes_lose_their_passwords(url: str, kept: str) -> None:
    assert without_password(url) == kept


def test_packages_are_those_that_are_installed() -> None:
    installed: dict[str, str] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        # A name that is there twice is imported from where it stands first.
        installed.setdefault(re.sub("[-_.]+", "-", name).lower(), f"{name}=={one.version}")
    assert facts()["python/packages"].split("\n") == [installed[key] for key in sorted(installed)]

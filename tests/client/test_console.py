"""The console: every line once, on resume too, and a terminal that looks as without us."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_naiad import LONGER, clean_environment, wait_until
from support_runs import PATIENT
from support_server import Server

from naiad._console import LineCutter
from naiad.spool.folder import host_folder, spools
from naiad_proto.series import string_arrays
from naiad_proto.v1 import records_pb2 as pb

pytestmark = pytest.mark.usefixtures("processes_end")

BEGIN = f"""
import ctypes, os, signal, subprocess, sys, time
import naiad
{PATIENT}
run = naiad.Run(project="team/p", run_id="r", hardware_interval=None,
                source_tracking_config=None, runtime_namespace="rt", console=MODE)
"""
MODES = ("python", "fd")


class Scripts:
    """Runs scripts that print, beside a server that hears of it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.root = folder / "root"

    def environment(self, **extra: str) -> dict[str, str]:
        return clean_environment(
            NAIAD_URL=self.server.url, NAIAD_LOG_DIRECTORY=str(self.root), NAIAD_QUIET="1",
            PYTHONIOENCODING="utf-8", **extra,
        )  # fmt: skip

    def start(self, mode: str, body: str, **extra: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", BEGIN.replace("MODE", repr(mode)) + body],
            env=self.environment(**extra), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, mode: str, body: str, status: int = 0) -> tuple[bytes, bytes]:
        process = self.start(mode, body)
        out, err = process.communicate(timeout=60 * LONGER)
        assert process.returncode == status, err.decode()
        return out, not_waiting(err)

    def reads(self) -> bool:
        """Is a console's reader of ours still at work?"""
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if "_console_reader.py" in command and str(self.root) in command:
                return True
        return False

    def sent(self, *, reads_on: bool = False) -> None:
        if not reads_on:
            wait_until(lambda: not self.reads(), 30, "the readers have ended")
        wait_until(lambda: spools(host_folder(self.root)) == [], 30, "everything is sent")

    def lines(self, stream: str = "stdout") -> list[tuple[int, str]]:
        """(number, text) of each line that arrived."""
        found = []
        for batch in self.server.batches():
            for series in batch.string_series:
                if series.path == f"rt/{stream}":
                    steps = string_arrays(series).steps.tolist()
                    found += list(
                        zip((step // 10**6 for step in steps), series.values, strict=True)
                    )
        return sorted(found)

    def texts(self, stream: str = "stdout") -> list[str]:
        return [text for _, text in self.lines(stream)]


@pytest.fixture
def scripts(server: Server, tmp_path: Path) -> Scripts:
    return Scripts(server, tmp_path)


def in_terminal(scripts: Scripts, code: str, columns: int = 70) -> bytes:
    """What a terminal gets from a script that runs in it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=scripts.environment(TERM="xterm-256color"),
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    # Not select(), which knows no numbers above 1,023: an engine in this process has many files.
    ready = select.poll()
    ready.register(master, select.POLLIN)
    while True:
        assert ready.poll(60_000 * LONGER), seen
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(master)
    assert process.wait(30 * LONGER) == 0, seen.decode()
    return not_waiting(seen)


def not_waiting(said: bytes) -> bytes:
    """Without the lines that `close` says after two seconds, which a busy machine may take."""
    kept = (line for line in said.splitlines(keepends=True) if b": waiting for " not in line)
    return b"".join(kept)


# --- lines -------------------------------------------------------------------------------------


@given(st.lists(st.text(alphabet="ab\r\n", max_size=6), max_size=8))
def test_pieces_do_not_matter(pieces: list[str]) -> None:
    whole, cut = LineCutter(), LineCutter()
    expected = whole.feed("".join(pieces)) + whole.flush()
    assert [line for piece in pieces for line in cut.feed(piece)] + cut.flush() == expected


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("10%\r50%\r100%\n", ["100%"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("\n\n", ["", ""]),
        ("half", ["half"]),
        ("bar\r\rbaz\n", ["baz"]),
        ("done\r\n\rnext", ["done", "next"]),
        ("a\x0bb\u2028c\n", ["a\x0bb\u2028c"]),
        ("lone \ud800\n", ["lone ?"]),
    ],
)
def test_a_carriage_return_leaves_the_last_state(text: str, lines: list[str]) -> None:
    cutter = LineCutter(7)
    found = cutter.feed(text) + cutter.flush()
    assert found == list(enumerate(lines, 7))


# --- both ways ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_lines_go_on_on_resume_and_the_stream_gets_the_same(scripts: Scripts, mode: str) -> None:
    body = """
print("first")
print("oops", file=sys.stderr)
sys.stdout.write("1%\\r2%\\r3%\\n")
sys.stdout.buffer.write("bytes \\u00fc\\n".encode())
print("last, without an end", end="")
run.close()
print("after the run", flush=True)
"""
    for turn in range(2):
        out, err = scripts.run(mode, body)
        assert out.decode() == ("first\n1%\r2%\r3%\nbytes ü\nlast, without an endafter the run\n")
        assert err == b"oops\n"
        scripts.sent()
        texts = ["first", "3%", "bytes ü", "last, without an end"]
        assert scripts.lines() == list(enumerate(texts * (turn + 1)))
        assert scripts.texts("stderr") == ["oops"] * (turn + 1)


@pytest.mark.parametrize("mode", MODES)
def test_waiting_takes_the_console_along(scripts: Scripts, mode: str) -> None:
    process = scripts.start(
        mode,
        f"print('said'); assert run.wait_for_submission({20 * LONGER}); print('ok'); input()",
    )
    assert process.stdout
    assert process.stdout.readline() == b"said\n"
    assert process.stdout.readline() == b"ok\n"
    assert "said" in scripts.texts()
    process.communicate(b"\n", timeout=30 * LONGER)


LOOKS = """
import sys, os
S = sys.stdout
print(S.isatty(), sys.stderr.isatty(), S.encoding, S.fileno(), S.errors, S.name, S.mode,
      S.line_buffering, S.writable(), os.get_terminal_size(S.fileno()).columns,
      os.isatty(1), os.isatty(2))
print("ü", end="", flush=True)
S.buffer.write(b" bytes\\n")
S.buffer.flush()
print("on stderr", file=sys.stderr)
from tqdm import tqdm
for _ in tqdm(range(3), desc="bar", mininterval=0, bar_format="{desc} {n}/{total} {bar}"): pass
from rich.console import Console
console = Console()
console.print("[bold red]loud[/] and", console.width, console.is_terminal, console.color_system)
console.rule("title")
"""


def is_woven(text: bytes, one: bytes, other: bytes) -> bool:
    """Is `text` made of these two, each of them in its order?"""
    # How much of `one` the text until here may have taken.
    taken = {0}
    for at, byte in enumerate(text):
        of_one = {n + 1 for n in taken if one[n : n + 1] == bytes([byte])}
        of_other = {n for n in taken if other[at - n : at - n + 1] == bytes([byte])}
        taken = of_one | of_other
    return len(text) == len(one) + len(other) and len(one) in taken


@pytest.mark.parametrize("mode", MODES)
def test_a_terminal_looks_as_without_us(scripts: Scripts, mode: str) -> None:
    with_us = in_terminal(scripts, BEGIN.replace("MODE", repr(mode)) + LOOKS + "\nrun.close()\n")
    without = in_terminal(scripts, LOOKS)
    assert b"True True utf-8 1" in without
    assert b"3/3" in without
    # The descriptors may be passed on by turns, but each one's bytes are the same.
    out, err = b"", b""
    for line in without.splitlines(keepends=True):
        if line == b"\r" or line.startswith((b"bar ", b"on stderr")):
            err += line
        else:
            out += line
    assert err.count(b"bar ") >= 3
    assert is_woven(with_us, out, err), (with_us, without)
    scripts.sent()
    assert any(text.startswith("True True utf-8 1") for text in scripts.texts())
    bars = [text for text in scripts.texts("stderr") if text.startswith("bar")]
    assert len(bars) == 1, bars
    assert bars[0].startswith("bar 3/3")


# --- below Python ------------------------------------------------------------------------------


def test_subprocesses_and_c_and_the_last_words(scripts: Scripts) -> None:
    body = """
subprocess.run(["echo", "from a subprocess"], check=True)
subprocess.run("echo to stderr >&2", shell=True, check=True)
os.write(1, b"from os.write\\n")
libc = ctypes.CDLL(None)
libc.printf(b"from C\\n")
libc.fflush(None)
print("last words", end="", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    out, err = scripts.run("fd", body, -signal.SIGKILL)
    lines = ["from a subprocess", "from os.write", "from C", "last words"]
    assert out.decode() == "\n".join(lines)
    assert err == b"to stderr\n"
    scripts.sent()
    assert scripts.texts() == lines
    assert scripts.texts("stderr") == ["to stderr"]
    # The reader's own end is no end of the training.
    states = {
        item.writer_status.state
        for batch in scripts.server.batches()
        for item in batch.items
        if item.HasField("writer_status")
    }
    assert pb.WRITER_STATE_KILLED in states


def test_much_output_is_the_same(scripts: Scripts) -> None:
    body = """
for number in range(20000):
    print(number, "x" * 50)
run.close()
"""
    out, _ = scripts.run("fd", body)
    assert out.decode().splitlines() == [f"{n} {'x' * 50}" for n in range(20000)]
    scripts.sent()
    assert scripts.lines() == [(n, f"{n} {'x' * 50}") for n in range(20000)]


def test_a_reader_that_dies_is_not_felt(scripts: Scripts) -> None:
    body = """
print("before", flush=True)
os.kill(int(sys.stdin.readline()), signal.SIGKILL)
child = subprocess.Popen(["sh", "-c", "sleep 0.3; echo child"])
for number in range(20000):
    print(number, flush=number % 100 == 0)
child.wait()
run.close()
print("end", flush=True)
sys.stdin.readline()
"""
    out, awaited = b"", {b"child", b"end"}
    with scripts.start("fd", body) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(f"{reader_of(process).pid}\n".encode())
        process.stdin.flush()
        # A thread passes on what the child wrote, perhaps after the script's own last line.
        while awaited and (line := process.stdout.readline()):
            out += line
            awaited -= {word for word in awaited if word in line}
        process.stdin.write(b"\n")
        process.stdin.close()
        out += process.stdout.read()
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert not awaited
    printed = out.decode().splitlines()
    assert printed[0] == "before"
    # Every byte once; where the descriptors came back a line may be torn.
    numbers = "".join(str(n) for n in range(20000))
    assert Counter(out.decode()) == Counter(f"before{numbers}childend" + "\n" * 20003)
    assert sum(line.isdecimal() for line in printed) >= 19990
    assert b"the console's reader ended" in err


def reader_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    found: list[psutil.Process] = []

    def look() -> bool:
        found[:] = [
            child
            for child in psutil.Process(process.pid).children()
            if "_console_reader.py" in " ".join(child.cmdline())
        ]
        return bool(found)

    wait_until(look, 30, "the reader runs")
    return found[0]


def test_the_reader_outlives_the_run_only_for_those_who_still_write(scripts: Scripts) -> None:
    body = """
child = subprocess.Popen([sys.executable, "-c", "input(); print('late')"], stdin=subprocess.PIPE,
                         start_new_session=True)
print("said", flush=True)
run.close()
sys.stdin.readline()
print("end", flush=True)
child.stdin.write(b"go\\n"); child.stdin.flush()
"""
    process = scripts.start("fd", body)
    assert process.stdout
    assert process.stdout.readline() == b"said\n"
    scripts.sent(reads_on=True)
    # The run has ended for everybody although the child has the reader's pipe.
    ends = [
        item.writer_status.state
        for batch in scripts.server.batches()
        for item in batch.items
        if item.HasField("writer_status")
    ]
    assert ends.count(pb.WRITER_STATE_FINISHED) == ends.count(pb.WRITER_STATE_RUNNING) == 2
    reader = reader_of(process)
    out, _ = process.communicate(b"\n", timeout=30 * LONGER)
    assert sorted(out.splitlines()) == [b"end", b"late"]
    wait_until(lambda: not reader.is_running(), 20, "the reader has ended")


def test_where_descriptors_are_not_the_console_python_is_taken(scripts: Scripts) -> None:
    code = "import io, sys\nsys.stdout = io.StringIO()\n" + BEGIN.replace("MODE", "'fd'")
    done = subprocess.run(
        [sys.executable, "-c", code + "print('hello'); run.close()"],
        env=scripts.environment(), capture_output=True, text=True, timeout=60 * LONGER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "only what Python prints is recorded" in done.stderr
    scripts.sent()
    assert scripts.texts() == ["hello"]


def test_runs_leave_no_descriptors_behind(scripts: Scripts) -> None:
    """And stdout that was closed or redirected meanwhile is nobody's fault."""
    body = f"""
import psutil
run.close()
def another(number):
    return naiad.Run(project="team/p", run_id=f"r{{number}}", hardware_interval=None,
                     source_tracking_config=None, console="fd")
another(0).close()
def settled():
    # Threads that saw the reader off close what they had.
    before = -1
    while (now := psutil.Process().num_fds()) != before:
        before = now
        time.sleep(0.3)
    return now
first = settled()
for number in range(1, 4):
    another(number).close()
deadline = time.monotonic() + {20 * LONGER}
while (now := psutil.Process().num_fds()) > first:
    assert time.monotonic() < deadline, (now, first)
    time.sleep(0.05)
last = another(9)
os.dup2(2, 1)
last.close()
"""
    scripts.run("fd", body)


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_does_not_reach_the_training(scripts: Scripts, mode: str) -> None:
    body = """
print("before")
from naiad.spool.folder import RunMemory
def full(*_): raise OSError(28, "No space left on device")
RunMemory.console_lines = RunMemory.settle_console_lines = RunMemory.console_lock = full
run.close()
second = naiad.Run(project="team/p", run_id="s", hardware_interval=None, console="python")
second.log_metrics({"a": 1.0}, step=0)
second.close()
print("after", flush=True)
"""
    out, err = scripts.run(mode, body)
    assert out == b"before\nafter\n"
    assert b"neither console nor source" in err

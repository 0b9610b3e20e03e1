"""SIGKILL at moments that nobody chose: every call that returned arrives, once.

NAIAD_KILLS says how many moments (`make test-faults`: 50), NAIAD_SEED which ones.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

import pytest
from support_bench import Bench
from support_naiad import LONGER, wait_until
from support_truth import calls_in

MOMENTS = int(os.environ.get("NAIAD_KILLS", "3"))
SEED = int(os.environ.get("NAIAD_SEED", str(time.time_ns() % 1_000_000)))
# More than it ever gets to.
ENDLESS = 1_000_000


def until_it_logs(bench: Bench) -> None:
    """Until one more call has returned."""
    before = calls_in(bench.diaries)
    wait_until(lambda: calls_in(bench.diaries) > before, 30, "it logs")


@pytest.mark.slow
@pytest.mark.timeout((120 + 6 * MOMENTS) * LONGER)
@pytest.mark.parametrize(
    "victim",
    [
        pytest.param("logger", marks=pytest.mark.long),
        pytest.param("shipper", marks=pytest.mark.long),
        "both",
    ],
)
def test_killed_at_random_moments(benches: Callable[[int], Bench], victim: str) -> None:
    bench = benches(SEED)
    process: subprocess.Popen[str] | None = None
    killed = logged = 0
    for moment in range(MOMENTS):
        if process is None:
            process = bench.writer(f"{victim}{moment}", ENDLESS, pause=0.002)
            if bench.random.random() < 0.8 or not logged:
                until_it_logs(bench)
                logged += 1
            # Else also while Python starts, or the run, or its first segment.
        # A moment is what is asked for here, not a state.
        if victim == "logger":
            time.sleep(bench.random.uniform(0, 0.3))
        else:
            # Half of it while it starts, half while it ships.
            wait_until(bench.shippers, 30, "a shipper is there")
            time.sleep(bench.random.uniform(0, 1.0))
            killed += bench.kill_shippers()
        if victim != "shipper":
            process.kill()
            process.communicate()
            process = None
    assert killed >= MOMENTS * 0.8 or victim == "logger"
    # The same script once more, which ends as it should; and the shipper's own way to its end,
    # or a sync after everything is dead.
    if process:
        process.terminate()
        process.communicate(timeout=60 * LONGER)
    if bench.random.random() < 0.5:
        last = bench.writer("last", 50)
        _, errors = last.communicate(timeout=60 * LONGER)
        assert last.returncode == 0, errors
    else:
        bench.kill_shippers()
        bench.sync()
    bench.check(least=logged)


@pytest.mark.timeout((120 + 6 * MOMENTS) * LONGER)
def test_killed_again_and_again_in_a_tight_loop(benches: Callable[[int], Bench]) -> None:
    """Nothing but writes, so that a kill is inside one more often than not."""
    bench = benches(SEED)
    for moment in range(MOMENTS):
        process = bench.script(
            f"diary = keeper('w{moment}')\n"
            "paths = [f'm{n}' for n in range(200)]\n"
            "step = 0\n"
            "while True:\n"
            "    diary.call('metrics', paths, step)\n"
            "    step += 1\n"
        )
        until_it_logs(bench)
        time.sleep(bench.random.uniform(0.005, 0.05))
        process.kill()
        process.communicate()
    bench.sync(status=None)
    bench.check(least=MOMENTS)


_DIE = "os.kill(os.getpid(), signal.SIGKILL)"
# Each kills the process inside a call that is not to return.
INSIDE = {
    "while values are packed": f"""
class Value:
    def __float__(self):
        {_DIE}
run._session.spool.metrics({{"w/a": 1.0, "w/b": Value(), "w/c": 3.0}}, 999, 1)
""",
    "before the check is written": f"""
class Words:
    def __setitem__(self, place, word):
        {_DIE}
run._session.spool._segment.words = Words()
run.log_metrics({{"w/a": 1.0}}, step=999)
""",
    "before the record is published": f"""
class Words:
    real = run._session.spool._segment.words
    def __setitem__(self, place, word):
        if place == 1:
            {_DIE}
        self.real[place] = word
run._session.spool._segment.words = Words()
run.log_metrics({{"w/a": 1.0}}, step=999)
""",
    "before a segment has its name": f"""
from naiad.spool.segment import Segment
Segment.begin = lambda *_: {_DIE}
while True: diary.call('long', ['long'], next(steps))
""",
    "between two segments": f"""
from naiad.spool.segment import Segment
Segment.finish = lambda *_: {_DIE}
while True: diary.call('long', ['long'], next(steps))
""",
}


def test_killed_inside_a_call(bench: Bench) -> None:
    """The calls that kill are in no diary: what they log must not be there afterwards."""
    for number, (place, fatal) in enumerate(INSIDE.items()):
        process = bench.script(
            "import itertools\n"
            f"diary, steps = keeper('w{number}'), itertools.count()\n"
            "for _ in range(100): diary.step(next(steps))\n" + fatal
        )
        _, errors = process.communicate(timeout=60 * LONGER)
        assert process.returncode == -9, f"{place}: {errors}"
    bench.check(least=500)


# Moments of the shipper's own: what it has done is not written down yet, or is half cleared.
SHIPPER_PLACES = {
    "answered and not told": "SpoolShip._tell = after(SpoolShip._tell, False)",
    "told and not freed": "SpoolShip._free = after(SpoolShip._free, False)",
    "freed and not finished": "SpoolShip._free = after(SpoolShip._free, True)",
    "half removed": "spool.shutil.rmtree = lambda folder, **_: die()",
    "a file uploaded and not recorded": (
        "Uploads.take = after(Uploads.take, True)"
    ),
}  # fmt: skip
_SHIPPER = """
import os, signal, sys
from pathlib import Path
from naiad.shipper import spool
from naiad.shipper.shipper import Shipper
from naiad.shipper.spool import SpoolShip
from naiad.shipper.uploads import Uploads

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def after(real, too):
    def dying(self, *rest):
        if too:
            real(self, *rest)
        if isinstance(self, Uploads) or self.told.acknowledged > 20:
            die()
        if not too:
            real(self, *rest)
    return dying

"""


@pytest.mark.long
def test_the_shipper_killed_at_its_worst_moments(bench: Bench) -> None:
    for number, (place, change) in enumerate(SHIPPER_PLACES.items()):
        # Offline, so that no shipper of the run's own is faster.
        process = bench.script(
            f"diary = keeper('w{number}')\n"
            "for step in range(100): diary.step(step)\n"
            "run.terminate()\n",
            NAIAD_MODE="offline",
        )
        _, errors = process.communicate(timeout=60 * LONGER)
        assert process.returncode == 0, errors
        bench.kill_shippers()
        dying = bench.python(
            "-c",
            f"{_SHIPPER}{change}\nShipper(Path(sys.argv[1]), offline_too=True, watch=False).run()",
            str(bench.host),
        )
        _, errors = dying.communicate(timeout=60 * LONGER)
        assert dying.returncode == -9, f"{place}: {errors}"
    bench.sync()
    bench.check(least=500)

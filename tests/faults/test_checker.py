"""The checker sees what it is there to see, before anything is trusted to it."""

from __future__ import annotations

import pytest
from support_bench import PROJECT, Bench
from support_naiad import LONGER
from support_truth import Truth, read_back

KINDS = ["points", "strings", "histograms", "files", "attributes", "tags"]


@pytest.fixture
def logged(bench: Bench) -> Bench:
    """60 steps of everything, all readable."""
    process = bench.writer("w", 60)
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    bench.check(least=60)
    return bench


def test_planted_faults_are_seen(logged: Bench) -> None:
    found = read_back(logged.platform.url, PROJECT, logged.run_id)
    for kind in KINDS:
        place, (key, value) = next((n, f) for n, f in enumerate(found) if f[0][0] == kind)
        others = [*found[:place], *found[place + 1 :]]
        truth = logged.truth()
        assert truth.problems(others) == [f"lost: {key}"]
        assert truth.problems([*found, (key, value)]) == [f"there 2 times: {key}"]
        (wrong,) = truth.problems([*others, (key, "something else")])
        assert wrong.startswith(f"wrong: {key} = 'something else', not")
        strange = (key[0], "nobody's", key[2])
        assert truth.problems([*found, (strange, value)]) == [
            f"never logged: {strange} = {value!r}"
        ]
        with pytest.raises(AssertionError, match="lost"):
            truth.check(others)


def test_faults_planted_in_the_data_are_seen(logged: Bench) -> None:
    """The whole way: another process changes one point and adds another one."""
    process = logged.script(
        "from support_diary import number\n"
        f"run.log_metrics({{'wt0/loss': number({logged.seed}, 'wt0/loss', 3) + 1e-12}}, step=3)\n"
        "run.log_metrics({'wt0/loss': 1.0}, step=60)\n"
        f"assert run.wait_for_processing(timeout={60 * LONGER})\n"
        "run.close()\n"
    )
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    problems = sorted(problem[:5] for problem in logged.problems())
    assert problems == ["never", "wrong"]


def test_a_call_under_way_at_a_kill_may_be_there_or_not() -> None:
    key = ("points", "w/loss", 1.0)
    truth = Truth(must={("points", "w/loss", 0.0): 5.0}, may={key: 7.0})
    first = [(("points", "w/loss", 0.0), 5.0)]
    assert truth.problems(first) == []
    assert truth.problems([*first, (key, 7.0)]) == []
    assert len(truth.problems([*first, (key, 8.0)])) == 1
    assert len(truth.problems([*first, (key, 7.0), (key, 7.0)])) == 1


def test_a_diary_tells_a_call_that_returned_from_one_that_did_not(bench: Bench) -> None:
    process = bench.script(
        "from support_diary import Diary\n"
        "import naiad\n"
        "diary = keeper('w')\n"
        "diary.call('metrics', ['a'], 0)\n"
        "naiad.Run.log_metrics = lambda *_, **__: os._exit(7)\n"
        "diary.call('metrics', ['a'], 1)\n"
    )
    process.communicate(timeout=60 * LONGER)
    assert process.returncode == 7
    truth = bench.truth()
    assert set(truth.must) == {("points", "w/a", 0.0)}
    assert set(truth.may) == {("points", "w/a", 1.0)}

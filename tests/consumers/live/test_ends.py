"""Of a run that was deleted nothing is live, in whatever order and however often it is heard."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_changes import change_batch, points_batch, sealed, writer_id
from support_changes_model import RUNS, Life, Model, Operation, operations, play
from support_naiad import LONGER
from support_valkey import Valkey, running_valkey

from naiad_consumers.live import gathering as gathering_module
from naiad_consumers.live import last_seen, latest_values
from naiad_consumers.live import mirror as mirror_module
from naiad_consumers.live.gathering import Gathering
from naiad_consumers.live.layout import LIVES_EXPIRY_SECONDS, lives_key
from naiad_consumers.live.mirror import Mirror
from naiad_eventlog import Record
from naiad_eventlog.topics import RECORDS, run_key
from naiad_proto.v1 import records_pb2 as pb
from naiad_state import State
from naiad_state import breaker as breaker_module

PROJECT = "team/ended"
PATIENCE = 60.0
_PROJECTS = itertools.count(1)
DELETE, RESTORE, PURGE = (
    {"delete_run": pb.DeleteRun()}, {"restore_run": pb.RestoreRun()}, {"purge_run": pb.PurgeRun()},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is there, also on a machine that stood still meanwhile."""
    monkeypatch.setattr(mirror_module, "_PATIENCE", PATIENCE)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture
async def state(valkey: Valkey) -> AsyncIterator[State]:
    async with State.open(valkey.url) as state:
        yield state


@pytest.fixture
def project() -> str:
    return f"{PROJECT}-{next(_PROJECTS)}"


class Keeping:
    """The consumer's parts; one made anew knows nothing."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.gathering, self.mirror = Gathering(), Mirror(state)

    async def take(self, *batches: pb.Batch, at: int = 5000) -> None:
        self.gather(*batches, at=at)
        await self.write()

    def gather(self, *batches: pb.Batch, at: int = 5000) -> None:
        for batch in batches:
            key = run_key(batch.project, batch.run_id)
            self.gathering.add(Record(RECORDS.name, 0, 0, key, sealed(batch, at), 0))

    async def write(self) -> None:
        self.gathering.put_back(await self.mirror.write(self.gathering.take()))

    async def loss(self, project: str, run_id: str = "a") -> tuple[float, float] | None:
        """Step and value."""
        found = await self.state.read(
            lambda redis: latest_values(redis, project, run_id), patience=PATIENCE
        )
        return (found["loss"].step / 1e6, found["loss"].value) if found else None

    async def writers(self, project: str, run_id: str = "a") -> set[str]:
        return set(
            await self.state.read(
                lambda redis: last_seen(redis, project, run_id), patience=PATIENCE
            )
        )


async def test_a_deleted_run_is_live_no_more(state: State, project: str) -> None:
    live = Keeping(state)
    await live.take(points_batch(project, "a", 1, [0, 5]), points_batch(project, "b", 2, [3]))
    assert await live.loss(project) == (5, 1)
    await live.take(change_batch(project, "a", 3, **DELETE))
    assert await live.loss(project) is None
    assert await live.writers(project) == set()
    assert await live.loss(project, "b") == (3, 2)
    # Its process goes on.
    await live.take(points_batch(project, "a", 1, [9], first=4))
    assert await live.loss(project) is None
    # And so it is for who has not seen the end.
    live = Keeping(state)
    await live.take(points_batch(project, "a", 1, [10], first=5))
    assert await live.loss(project) is None
    assert await live.writers(project) == set()
    # Another run has the id.
    await live.take(
        points_batch(project, "a", 4, [1]), points_batch(project, "a", 1, [11], first=6)
    )
    assert await live.loss(project) == (1, 4)
    assert await live.writers(project) == {writer_id(4)}
    expiry = await state.read(lambda redis: redis.ttl(lives_key(project, "a")), patience=PATIENCE)
    assert 0 < expiry <= LIVES_EXPIRY_SECONDS


async def test_a_restored_run_is_live_again(state: State, project: str) -> None:
    live = Keeping(state)
    await live.take(
        points_batch(project, "a", 1, [0]),
        change_batch(project, "a", 2, **DELETE),
        points_batch(project, "a", 3, [7]),
        change_batch(project, "a", 4, **DELETE),
    )
    await live.take(change_batch(project, "a", 5, restore_run=pb.RestoreRun(incarnation=0)))
    assert await live.loss(project) is None
    await live.take(points_batch(project, "a", 3, [8], first=5))
    assert await live.loss(project) is None
    await live.take(points_batch(project, "a", 1, [2], first=5))
    assert await live.loss(project) == (2, 1)
    await live.take(points_batch(project, "a", 6, [3]))
    assert await live.loss(project) == (3, 6)
    await live.take(change_batch(project, "a", 7, **DELETE), change_batch(project, "a", 8, **PURGE))
    await live.take(change_batch(project, "a", 9, **RESTORE), points_batch(project, "a", 6, [9]))
    assert await live.loss(project) is None


async def test_who_began_while_the_deletion_was_on_its_way(state: State, project: str) -> None:
    """Its epoch is above the deletion's, and it was heard before."""
    live = Keeping(state)
    await live.take(points_batch(project, "a", 10, [0]))
    await live.take(change_batch(project, "a", 9, **DELETE))
    await live.take(points_batch(project, "a", 10, [1], first=3))
    assert await live.loss(project) is None
    await live.take(points_batch(project, "a", 11, [0]))
    assert await live.loss(project) == (0, 11)


async def test_what_was_heard_of_in_time_is_kept(state: State, project: str) -> None:
    live = Keeping(state)
    await live.take(points_batch(project, "a", 1, [0]), at=5000)
    since = pb.DeleteRun(unless_heard_since=5000)
    await live.take(change_batch(project, "a", 2, delete_run=since))
    assert await live.loss(project) == (0, 1)
    since = pb.DeleteRun(unless_heard_since=5001)
    await live.take(change_batch(project, "a", 3, delete_run=since))
    assert await live.loss(project) is None


async def test_an_end_waits_for_redis(
    valkey: Valkey, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where so much else waits that runs are left out."""
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(gathering_module, "MAX_RUNS", 2)
    async with State.open(valkey.url) as state:
        live = Keeping(state)
        await live.take(points_batch(project, "a", 1, [0]))
        monkeypatch.setattr(mirror_module, "_PATIENCE", 2.0)
        valkey.pause()
        try:
            live.gather(change_batch(project, "a", 2, **DELETE))
            await live.write()
            live.gather(*(points_batch(project, f"r{n}", 1, [0]) for n in range(5)))
            await live.write()
            assert live.gathering
        finally:
            valkey.resume()
        async with asyncio.timeout(30 * LONGER):
            while live.gathering:
                await asyncio.sleep(0.02)
                await live.write()
        assert await live.loss(project) is None
        assert await live.loss(project, "r4") == (0, 1)


@settings(
    max_examples=30, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(script=operations, data=st.data())
def test_what_is_live_is_of_the_life_that_the_run_lives(
    valkey: Valkey, script: list[Operation], data: st.DataObject
) -> None:
    project = f"{PROJECT}-{next(_PROJECTS)}"
    model = Model()
    log, restarts = play(project, script, model)
    cuts = data.draw(st.lists(st.integers(0, len(log)), max_size=6))
    again = data.draw(st.integers(0, len(log)))
    asyncio.run(_follow(valkey, project, model, log, sorted({*cuts, *restarts}), again))


async def _follow(
    valkey: Valkey,
    project: str,
    model: Model,
    log: Sequence[pb.Batch],
    cuts: Sequence[int],
    again: int,
) -> None:
    async with State.open(valkey.url) as state:
        live = Keeping(state)
        for begin, end in itertools.pairwise([0, *cuts, len(log)]):
            await live.take(*log[begin:end])
        await _check(live, project, model, log)
        # Once more from any point on, by another member.
        live = Keeping(state)
        await live.take(*log[again:])
        await _check(live, project, model, log)


async def _check(live: Keeping, project: str, model: Model, log: Sequence[pb.Batch]) -> None:
    visible = model.visible()
    restored = any(item.HasField("restore_run") for batch in log for item in batch.items)
    for name in RUNS:
        found = await live.loss(project, name)
        writers = await live.writers(project, name)
        current = model.runs[name].current
        of_current = {epoch for epoch, life in model.lives.items() if _went_on(life) is current}
        assert writers <= {writer_id(epoch) for epoch in of_current}
        if name not in visible:
            assert found is None
            continue
        if found is not None:
            assert int(found[1]) in of_current
            assert found[0] <= max(visible[name])
        if not restored:
            # What an end took away is told again by nobody.
            assert found is not None
            assert found[0] == max(visible[name])


def _went_on(life: Life) -> Life:
    while life.instead:
        life = life.instead
    return life

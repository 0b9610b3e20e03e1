"""A platform for the tests of this folder, and benches to torture runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support_bench import Bench
from support_naiad import Naiad, running_naiad


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    with running_naiad(tmp_path_factory.mktemp("platform") / "data") as naiad:
        yield naiad


@pytest.fixture
def benches(tmp_path: Path, platform: Naiad) -> Iterator[Callable[[int], Bench]]:
    made: list[Bench] = []

    def make(seed: int) -> Bench:
        print(f"seed {seed}")
        made.append(Bench(tmp_path, platform, seed))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(benches: Callable[[int], Bench]) -> Bench:
    return benches(1)

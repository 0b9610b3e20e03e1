"""Both homes of the platform, for tests with the same assertions on each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from support_cluster import cluster
from support_homes import Home, InACluster, OneMachine


@pytest.fixture(
    scope="module", params=["one machine", pytest.param("cluster", marks=pytest.mark.long)]
)
def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    with contextlib.ExitStack() as ending:
        if request.param == "cluster":
            found: Home = InACluster(ending.enter_context(cluster(folder, seed=1)))
        else:
            found = OneMachine(folder)
        ending.callback(found.close)
        yield found

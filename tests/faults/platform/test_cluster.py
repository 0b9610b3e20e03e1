"""The stages on Kafka, a store over HTTP and Valkey, under load: whatever befalls which of them,
nothing is lost and nothing is there twice.

NAIAD_ROUNDS says how often everything strikes (`make test-faults`: 3 times), NAIAD_SEED when and
in which order, NAIAD_FAULTS which alone. Without them a few do, drawn: docs/faults.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support_cluster import ENGINES, STAGES, cluster
from support_networks import NETWORK
from support_siege import ROUNDS, SEED, siege

pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.long]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("round", range(max(ROUNDS, 1)))
def test_it_goes_on_with_everything(
    tmp_path: Path, round: int, report_figure: Callable[[str], None]
) -> None:
    with (
        cluster(tmp_path, SEED + round) as platform,
        siege(platform, tmp_path, runs=["one", "two"], seed=SEED + round) as besieged,
    ):
        besieged.rage(STAGES | ENGINES | NETWORK, few=5)
        besieged.end()
    for line in besieged.figures():
        report_figure(f"cluster: {line}")

"""`naiad up` under load: whatever befalls it, nothing is lost and nothing is there twice.

NAIAD_ROUNDS says how often everything strikes (`make test-faults`: 3 times), NAIAD_SEED when and
in which order, NAIAD_FAULTS which alone. Without them a few do, drawn: docs/faults.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support_embedded import DISKS, PROCESSES, embedded
from support_networks import NETWORK
from support_siege import ROUNDS, SEED, siege

pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.long]


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("round", range(max(ROUNDS, 1)))
def test_it_comes_back_with_everything(
    tmp_path: Path, round: int, report_figure: Callable[[str], None]
) -> None:
    with (
        embedded(tmp_path, own_disk=True) as platform,
        siege(platform, tmp_path, runs=["one", "two"], seed=SEED + round) as besieged,
    ):
        besieged.rage(PROCESSES | NETWORK | (DISKS if platform.disk else {}), few=4)
        besieged.end()
    if platform.lack:
        report_figure(f"embedded: no full disk and no power cut, since {platform.lack}")
    for line in besieged.figures():
        report_figure(f"embedded: {line}")

"""Limits as text."""

from __future__ import annotations

import pytest

from naiad_state import Limits, LimitsError, Rates


def test_rules_are_read() -> None:
    limits = Limits.parse(
        "project=team/vision:points_per_second=1e6; token=a:b:batches_per_second=0.5\n"
        " project = * : bytes_per_second = 5e7 , burst_seconds = 10 ;project=team/x:unlimited;"
    )
    assert limits.projects == {
        "team/vision": Rates(points=1e6),
        "*": Rates(bytes=5e7, burst=10),
        "team/x": Rates(),
    }
    assert limits.tokens == {"a:b": Rates(batches=0.5)}
    assert limits
    assert not Limits.parse(" ;\n ")


def test_a_rule_with_a_name_counts_instead_of_the_one_for_all() -> None:
    limits = Limits.parse(
        "project=*:points_per_second=10,bytes_per_second=5;project=a/b:points_per_second=99;"
        "project=a/free:unlimited;token=ann:batches_per_second=3,burst_seconds=4"
    )

    def of(project: str, token: str) -> list[tuple[str, str, float, float]]:
        return [
            (one.subject, one.unit, one.rate, one.capacity) for one in limits.of(project, token)
        ]

    assert of("a/other", "bob") == [("project", "points", 10, 20), ("project", "bytes", 5, 10)]
    assert of("a/b", "bob") == [("project", "points", 99, 198)]
    assert of("a/free", "bob") == []
    assert of("a/free", "ann") == [("token", "batches", 3, 12)]
    keys = {one.key for name in ("a/1", "a/2") for one in limits.of(name, "ann")}
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("project", "can't be read"),
        ("project=a/b", "can't be read"),
        ("project=:points_per_second=1", "can't be read"),
        ("projects=a/b:points_per_second=1", "projects=a/b.*can't be read"),
        ("project=a/b:points_per_minute=1", "points_per_minute=1"),
        ("project=a/b:points_per_second", "points_per_second"),
        ("project=a/b:", "none of"),
        ("project=a/b:points_per_second=fast", "fast"),
        ("project=a/b:points_per_second=0", "is not a number from"),
        ("project=a/b:points_per_second=-1", "is not a number from"),
        ("project=a/b:points_per_second=nan", "is not a number from"),
        ("project=a/b:points_per_second=inf", "is not a number from"),
        ("project=a/b:burst_seconds=3", "has no rate"),
        ("project=a/b:points_per_second=1,points_per_second=2", "twice"),
        ("project=a/b:points_per_second=1;project=a/b:unlimited", "two limits for project=a/b"),
    ],
)
def test_a_rule_that_cant_be_used_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(LimitsError, match=says):
        Limits.parse(text)

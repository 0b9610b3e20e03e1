"""Names and sizes: what is allowed, and that a refusal names the thing and never raises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad_proto import limits

# Lone surrogates included: Python's strings may hold them, UTF-8 may not.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
CHECKS: list[Callable[[str], str | None]] = [
    limits.check_project,
    limits.check_run_id,
    limits.check_experiment_name,
    limits.check_path,
    lambda text: limits.check_string("a/path", text),
    lambda text: limits.check_tag("a/path", text),
]


@given(ANY_TEXT)
def test_no_text_makes_a_check_raise_and_every_refusal_is_one_line(text: str) -> None:
    for check in CHECKS:
        problem = check(text)
        assert problem is None or (problem.isprintable() and len(problem) < 400)


@given(ANY_TEXT)
def test_what_is_allowed_can_be_sent_and_shown(text: str) -> None:
    for check in CHECKS[:4]:
        if check(text) is None:
            text.encode()
            assert text
            assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)


@pytest.mark.parametrize(
    ("check", "limit"),
    [
        (limits.check_run_id, limits.MAX_RUN_ID_BYTES),
        (limits.check_experiment_name, limits.MAX_EXPERIMENT_NAME_BYTES),
        (limits.check_path, limits.MAX_PATH_BYTES),
        (CHECKS[4], limits.MAX_STRING_BYTES),
        (CHECKS[5], limits.MAX_TAG_BYTES),
    ],
)
def test_limits_are_in_bytes_and_the_last_byte_is_allowed(
    check: Callable[[str], str | None], limit: int
) -> None:
    assert check("x" * limit) is None
    problem = check("x" * (limit + 1))
    assert problem is not None
    assert str(limit) in problem
    # Two bytes each in UTF-8.
    assert check("é" * (limit // 2)) is None
    assert check("é" * (limit // 2 + 1)) is not None


@pytest.mark.parametrize("project", ["team/digits", "a/b", "0/9", "Team.x_1-y/p.q_r-s"])
def test_projects(project: str) -> None:
    assert limits.check_project(project) is None


@pytest.mark.parametrize(
    "project",
    ["", "one", "/", "a/", "/b", "a/b/c", "a b/c", "../etc", "a/.b", "a/b\n", "é/b", "a/b" * 99],
)
def test_wrong_projects(project: str) -> None:
    assert limits.check_project(project) is not None


@pytest.mark.parametrize("check", CHECKS[:4])
@pytest.mark.parametrize("text", ["", "a\nb", "a\x00", "\x7f", "\x9b31m", "\ud800"])
def test_what_no_name_may_hold(check: Callable[[str], str | None], text: str) -> None:
    assert check(text) is not None


def test_a_run_id_has_no_slash_and_a_path_may() -> None:
    assert "slash" in (limits.check_run_id("a/b") or "")
    assert limits.check_path("a/b") is None


@given(ANY_TEXT, st.integers(1, 100))
def test_shortened_text_is_one_short_line(text: str, length: int) -> None:
    short = limits.shorten(text, length)
    assert len(short) <= length
    assert short.isprintable()
    if text.isprintable() and len(text) <= length:
        assert short == text

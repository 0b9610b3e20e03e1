"""The token file: what is kept, who sees a change, and what a damaged file does."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from naiad_auth import ANONYMOUS, Principal, TokenFileError, TokenStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tokens.json"


def test_an_empty_store_lets_nobody_in_and_makes_no_file(path: Path) -> None:
    store = TokenStore(path)
    assert store.empty()
    assert store.list() == ()
    assert store.authenticate("naiad_anything") is None
    assert store.authenticate("") is None
    assert not path.exists()


def test_a_token_is_long_random_and_known_again(path: Path) -> None:
    store = TokenStore(path)
    first, second = store.create(name="ann"), store.create()
    assert first != second
    assert first.startswith("naiad_")
    assert len(first) >= len("naiad_") + 43  # 256 bits in base64
    assert store.authenticate(first) == Principal("ann", None, None)
    principal = store.authenticate(second)
    assert principal is not None
    assert principal.name == f"token {store.list()[1].id}"
    for wrong in (first[:-1], first + "x", first.upper(), " " + first, "\ud800"):
        assert store.authenticate(wrong) is None


def test_secrets_are_not_kept_and_the_file_is_the_owners_alone(path: Path) -> None:
    store = TokenStore(path)
    secret = store.create(name="ann", project="team/digits", read_only=True)
    assert secret.removeprefix("naiad_") not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (token,) = store.list()
    assert (token.name, token.project, token.read_only) == ("ann", "team/digits", True)
    assert token.created_at.tzinfo is not None
    assert secret not in repr(token)


@pytest.mark.parametrize(
    ("project", "read_only", "rights"),
    [
        (None, False, {"team/digits": "rw", "team/other": "rw"}),
        (None, True, {"team/digits": "r", "team/other": "r"}),
        ("team/digits", False, {"team/digits": "rw", "team/other": ""}),
        ("team/digits", True, {"team/digits": "r", "team/other": ""}),
    ],
)
def test_rights(path: Path, project: str | None, read_only: bool, rights: dict[str, str]) -> None:
    store = TokenStore(path)
    principal = store.authenticate(store.create(project=project, read_only=read_only))
    assert principal is not None
    for name, expected in rights.items():
        assert principal.may_read(name) is ("r" in expected)
        assert principal.may_write(name) is ("w" in expected)


def test_anonymous_may_do_everything() -> None:
    assert ANONYMOUS.may_read("team/digits")
    assert ANONYMOUS.may_write("team/digits")


def test_a_revoked_token_ends_and_the_others_stay(path: Path) -> None:
    store = TokenStore(path)
    ann, bob = store.create(name="ann"), store.create(name="bob")
    id = store.list()[0].id
    assert store.revoke(id) is True
    assert store.revoke(id) is False
    assert store.authenticate(ann) is None
    assert store.authenticate(bob) is not None


def test_a_running_server_sees_what_another_process_does(path: Path) -> None:
    server = TokenStore(path)
    assert server.empty()
    script = f"from naiad_auth import TokenStore; print(TokenStore({str(path)!r}).create())"
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert server.authenticate(made) is not None
    TokenStore(path).revoke(server.list()[0].id)
    assert server.authenticate(made) is None
    path.unlink()
    assert server.empty()


def test_tokens_made_at_the_same_time_are_all_kept(path: Path) -> None:
    made: list[str] = []
    threads = [
        # A store each, as processes would have.
        threading.Thread(target=lambda: made.extend(TokenStore(path).create() for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = TokenStore(path)
    assert len({token.id for token in store.list()}) == 20
    assert all(store.authenticate(secret) for secret in made)
    left_behind = {p.name for p in path.parent.iterdir()} - {path.name, f"{path.name}.lock"}
    assert not left_behind


def _with(path: Path, **changes: object) -> str:
    document = json.loads(path.read_text())
    document["tokens"][0] |= changes
    return json.dumps(document)


@pytest.mark.parametrize("damage", ["cut", "text", "list", "format", "missing", "type"])
def test_a_damaged_file_lets_nobody_in_and_says_so(path: Path, damage: str) -> None:
    store = TokenStore(path)
    secret = store.create(read_only=True)
    content = path.read_text()
    path.write_text(
        {
            "cut": content[:-20],
            "text": "hello",
            "list": "[]",
            "format": content.replace('"format": 1', '"format": 2'),
            "missing": content.replace('"project"', '"projekt"'),
            "type": _with(path, read_only=0),
        }[damage]
    )
    with pytest.raises(TokenFileError, match=r"tokens\.json"):
        store.authenticate(secret)
    with pytest.raises(TokenFileError, match=r"tokens\.json"):
        store.create()
    path.write_text(content)
    assert store.authenticate(secret) is not None

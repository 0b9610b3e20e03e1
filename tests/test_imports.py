"""Imports run downstream to upstream only: who may import whom, held by reading the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "naiad_proto": "proto",
    "naiad": "client",
    "naiad_auth": "auth",
    "naiad_files": "files",
    "naiad_ingest": "ingest",
    "naiad_eventlog": "eventlog",
    "naiad_consumers": "consumers",
    "naiad_store": "store",
    "naiad_query": "query",
    "naiad_dashboard": "dashboard",
    "naiad_serve": "deploy",
    "naiad_standalone": "deploy",
    "naiad_state": "state",
}

# Beside itself, what each package may import of Naiad.
ALLOWED = {
    "naiad_proto": set(),
    "naiad": {"naiad_proto"},
    "naiad_auth": {"naiad_proto"},
    "naiad_files": {"naiad_proto"},
    "naiad_eventlog": {"naiad_proto"},
    "naiad_state": {"naiad_proto"},
    "naiad_store": {"naiad_proto"},
    "naiad_ingest": {"naiad_proto", "naiad_auth", "naiad_files", "naiad_eventlog", "naiad_state"},
    "naiad_consumers": {"naiad_proto", "naiad_eventlog", "naiad_state", "naiad_store"},
    "naiad_query": {"naiad_proto", "naiad_auth", "naiad_files", "naiad_state", "naiad_store"},
    "naiad_dashboard": {"naiad_proto", "naiad"},
    "naiad_serve": set(PACKAGES) - {"naiad_standalone"},
    "naiad_standalone": set(PACKAGES),
}


def imports(source: Path) -> set[str]:
    """Top-level names of every package that `source` imports, at any depth of the code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_stands_upstream(package: str) -> None:
    folder = ROOT / PACKAGES[package] / package
    sources = sorted(folder.rglob("*.py"))
    assert sources, f"{folder} holds no code"
    for source in sources:
        strangers = (imports(source) & set(PACKAGES)) - ALLOWED[package] - {package}
        assert not strangers, f"{source.relative_to(ROOT)} imports {sorted(strangers)}"


def test_every_package_of_the_wheel_is_held() -> None:
    found = {
        p.parent.name for p in ROOT.glob("*/*/__init__.py") if p.parent.name.startswith("naiad")
    }
    assert found == set(PACKAGES)

"""Paths with slashes as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict


class Node(TypedDict):
    """One level: `value` is its text or None for a mere folder, `type` its attribute type."""

    name: str
    path: str
    type: str
    value: str | None
    children: list[Node]


def tree(leaves: Iterable[tuple[str, str, str]]) -> list[Node]:
    """Top-level nodes of (path, type, text) leaves, each level in the order of the leaves.

    A path may be a value and a folder at once (`lr` and `lr/warmup`), and may carry values
    of several types: the second type gets a node of its own beside the first.
    """
    roots: list[Node] = []
    folders: dict[str, Node] = {}
    for path, kind, text in leaves:
        level = roots
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            node = folders.get(prefix)
            is_leaf = depth == len(parts)
            if node is None or (is_leaf and node["value"] is not None):
                node = Node(name=parts[depth - 1], path=prefix, type="", value=None, children=[])
                level.append(node)
                folders.setdefault(prefix, node)
            if is_leaf:
                node["type"], node["value"] = kind, text
            level = node["children"]
    return roots


def flat(nodes: Iterable[Node]) -> list[tuple[str, str, str]]:
    """The leaves of a tree, parents before children."""
    found: list[tuple[str, str, str]] = []
    for node in nodes:
        if node["value"] is not None:
            found.append((node["path"], node["type"], node["value"]))
        found.extend(flat(node["children"]))
    return found


def namespaces(paths: Iterable[str]) -> Mapping[str, list[str]]:
    """Paths by what stands before their last slash; "" for those without one."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(path.rpartition("/")[0], []).append(path)
    return dict(sorted(groups.items()))

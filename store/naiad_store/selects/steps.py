"""Micro-steps as the store's Decimal64(6) spells them."""

from __future__ import annotations

from naiad_proto.steps import MICRO


def decimal(micro: int) -> str:
    return f"{micro // MICRO}.{micro % MICRO:06d}"

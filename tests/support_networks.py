"""What can befall the network between writers and a platform under siege."""

from __future__ import annotations

import time

from support_naiad import wait_until
from support_proxy import FAULTS, CuttingProxy, MeddlingProxy
from support_siege import Fault, Siege


def network_cut(siege: Siege) -> float:
    return cut(siege.proxy)


def cut(proxy: CuttingProxy) -> float:
    """Connections break at any byte, and some are refused."""
    wanted = proxy.done["cut"] + 3
    proxy.cut()
    proxy.calm = False
    wait_until(lambda: proxy.done["cut"] >= wanted, 60, "the network cuts")
    proxy.calm = True
    return time.monotonic()


def network_silent(siege: Siege) -> float:
    """Nothing arrives and nobody is told, as behind a firewall that forgot the connection."""
    siege.proxy.hold = True
    siege.moment(5.0)
    siege.proxy.hold = False
    return time.monotonic()


def network_meddling(siege: Siege) -> float:
    """Calls are delivered twice, late, out of order, or denied after they were delivered."""
    proxy = siege.proxy
    meddling = MeddlingProxy(f"127.0.0.1:{proxy.target}", siege.random.randrange(1_000_000))
    straight = proxy.target
    try:
        proxy.target = meddling.port
        proxy.cut()
        wait_until(lambda: sum(meddling.done[fault] > 0 for fault in FAULTS) >= 4, 60, "it meddles")
        proxy.target = straight
        proxy.cut()
    finally:
        meddling.close()
    return time.monotonic()


NETWORK: dict[str, Fault] = {
    "network cut": network_cut,
    "network silent": network_silent,
    "calls meddled with": network_meddling,
}

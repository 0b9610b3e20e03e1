"""The form of a server's URL. Apart from `connection`, since a training process checks one and
never connects: importing gRPC would cost it more than all the rest of the client."""

from __future__ import annotations

from urllib.parse import urlsplit

CERT_WITHOUT_KEY = (
    "a client certificate and its key belong together: give both tls_cert and tls_key"
    " (NAIAD_TLS_CERT and NAIAD_TLS_KEY), or neither"
)


def check_url(url: str) -> str:
    """`url` if it is grpc://host:port or grpcs://host:port; raises ValueError otherwise."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in {"grpc", "grpcs"} or not parts.hostname or port is None:
        raise ValueError(
            f"server URL {url!r} is not of the form grpc://host:port, or grpcs://host:port for"
            " TLS; see NAIAD_URL"
        )
    if parts.path not in {"", "/"} or parts.query or parts.username:
        raise ValueError(f"server URL {url!r} has more than a host and a port; remove the rest")
    return url


def is_loopback(host: str) -> bool:
    """Is the host this machine, whatever its network?"""
    # Not above: a training process only looks at the form.
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

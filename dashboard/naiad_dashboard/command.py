"""The command line that serves the dashboard."""

from __future__ import annotations

import sys
from pathlib import Path

_ENTRY = Path(__file__).with_name("script") / "entry.py"

# What no deployment may change. As arguments, because those win over any
# `.streamlit/config.toml` that the working folder or the home folder may hold.
_FIXED = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.enableXsrfProtection": "true",
    "server.enableStaticServing": "false",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorLinks": "false",
    "global.developmentMode": "false",
    # Light or dark as the reader's system has it.
    "theme.light.primaryColor": "#0072b2",
    "theme.dark.primaryColor": "#3f9fdc",
    "theme.baseRadius": "0.375rem",
    "logger.level": "warning",
    "logger.hideWelcomeMessage": "true",
}


def command(
    server_url: str,
    host: str,
    port: int,
    login: bool,
    tls_certificate: str | Path | None = None,
    tls_key: str | Path | None = None,
) -> list[str]:
    """Arguments of a process that serves the dashboard on `host`:`port` until it is ended.

    It reads from the query service at `server_url`. With `login`, every reader has to show
    an API token first, and all questions are asked with that token; without, everyone who
    reaches the port may read. Certificate and key (PEM files, both or neither) make it https.
    """
    settings = {
        **_FIXED,
        "server.address": host.strip("[]"),
        "server.port": str(port),
        # Others may read the traceback only where they could read the code's folder too.
        "client.showErrorDetails": "type" if login else "stacktrace",
    }
    if tls_certificate and tls_key:
        settings["server.sslCertFile"] = str(tls_certificate)
        settings["server.sslKeyFile"] = str(tls_key)
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(_ENTRY),
        *(f"--{name}={value}" for name, value in settings.items()),
        "--",
        f"--server-url={server_url}",
        *(["--login"] if login else []),
    ]

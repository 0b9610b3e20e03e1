"""The dashboard: Streamlit pages over the query service.

Enters: the tables of `naiad.query.client.QueryClient`, asked with the reader's own token.
Leaves: web pages (Runs, Compare, Run), whose whole selection stands in their URL.
Promised: no SQL and no store of its own, so a reader sees what the token may see and no
more; nothing is fetched from any other server than the one it is served by; text that
users logged is shown as text.

Importing this package is light: Streamlit is only loaded in the process that `command`
describes.
"""

from __future__ import annotations

from naiad_dashboard.command import command

__all__ = ["command"]

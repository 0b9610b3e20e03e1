"""Addresses of the dashboard's pages."""

from __future__ import annotations

from urllib.parse import quote


def run_page(dashboard: str, project: str, run_id: str) -> str:
    project, run = quote(project, safe=""), quote(run_id, safe="")
    return f"{dashboard.rstrip('/')}/run?project={project}&run={run}"


def experiment_page(dashboard: str, project: str, experiment: str | None) -> str:
    """All runs of an experiment; of the project where there is none."""
    url = f"{dashboard.rstrip('/')}/runs?project={quote(project, safe='')}"
    if experiment:
        url += f"&experiment={quote(experiment, safe='')}"
    return url

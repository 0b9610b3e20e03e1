"""Makes the README's picture, docs/images/compare.png, from the demo's runs.

make demo                                     # in another terminal, until its table stands
.venv/bin/python scripts/screenshot.py        # --url and --dashboard for other ports
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

from naiad.query.client import Attributes, QueryClient

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "examples/digits"
# Curves that differ and can be told apart.
NAMES = ("mlp-8-lr-0.01", "mlp-32-lr-0.001", "mlp-128-lr-0.1")
METRICS = ("val/accuracy", "val/loss", "train/loss", "train/accuracy")


def link(url: str) -> str:
    """The Compare page with the newest run of each of NAMES."""
    with QueryClient(url) as client:
        table = client.runs_table(PROJECT, attributes=Attributes(paths=[]))
    newest: dict[str, str] = {}
    for run in table.to_pylist():
        newest.setdefault(run["experiment"], run["run_id"])
    missing = [name for name in NAMES if name not in newest]
    if missing:
        sys.exit(f"{url} has no {', '.join(missing)} in {PROJECT}; run `make demo` first")
    query = {"project": PROJECT, "run": [newest[name] for name in NAMES], "metric": METRICS}
    return "/compare?" + urlencode(query, doseq=True)


def picture(dashboard: str, path: str) -> bytes:
    # The tests' own way to a browser and to know when a page is complete.
    sys.path.insert(0, str(ROOT / "tests"))
    from support_browser import chromium, tab

    options = {"viewport": {"width": 1200, "height": 960}}
    with chromium() as browser, tab(browser, dashboard, **options) as page:
        page.go(path)
        for metric in METRICS:
            page.chart(metric)
        page.settled()
        # The values under the mouse, which the picture should show too.
        page.chart("val/accuracy").locator(".u-over").hover()
        page.page.locator(".tip:visible").wait_for()
        return page.page.screenshot()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--url", default="grpc://127.0.0.1:7420")
    arguments.add_argument("--dashboard", default="http://127.0.0.1:8501")
    arguments.add_argument("--to", type=Path, default=ROOT / "docs/images/compare.png")
    given = arguments.parse_args()
    image = Image.open(io.BytesIO(picture(given.dashboard, link(given.url))))
    # 128 colours look the same here and take a third of the bytes.
    image.convert("RGB").quantize(128).save(given.to, optimize=True)
    print(f"{given.to}: {given.to.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

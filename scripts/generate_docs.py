"""Makes docs/settings.md and docs/metrics.md from the code; with --check says whether they are
fresh."""

from __future__ import annotations

import sys
from pathlib import Path

from naiad_serve.describing import metrics_page, settings_page

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {"settings.md": settings_page, "metrics.md": metrics_page}


def main() -> int:
    stale = 0
    for name, make in PAGES.items():
        page, made = DOCS / name, make()
        if page.exists() and page.read_text() == made:
            continue
        if "--check" in sys.argv:
            print(f"docs/{name} is not what the code says; run: make docs", file=sys.stderr)
            stale += 1
        else:
            page.write_text(made)
            print(f"wrote docs/{name}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

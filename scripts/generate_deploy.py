"""Makes the files of deploy/ that are made from others: Grafana's dashboard, the chart's copies
of what Compose uses too (Helm takes nothing from outside a chart without a warning each time),
and, where helm is installed, the charts rendered for tests.

`--check` writes nothing and fails if something is stale.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "naiad"
COPIES = (
    *sorted((DEPLOY / "gateway").glob("*.conf")),
    DEPLOY / "prometheus" / "naiad.rules.yml",
    DEPLOY / "grafana" / "naiad.json",
)
HELM_TESTS = ROOT / "tests" / "deploy_files" / "helm"
# Whose schemas the tests know.
KUBERNETES = "1.33.0"


def render(values: Path) -> str:
    """What `helm template` makes of the chart. Raises RuntimeError with what helm says."""
    done = subprocess.run(
        ["helm", "template", "naiad", str(CHART), "--namespace", "ml", "--values", str(values),
         "--kube-version", KUBERNETES],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def rendered() -> dict[Path, str]:
    if not shutil.which("helm"):
        print("helm is not installed: the rendered charts are left as they are", file=sys.stderr)
        return {}
    return {
        values.with_name(values.name.replace(".values.", ".rendered.")): render(values)
        for values in sorted(HELM_TESTS.glob("*.values.yaml"))
    }


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    subprocess.run(
        [sys.executable, str(DEPLOY / "grafana" / "make_dashboard.py"), *sys.argv[1:]],
        check=True, timeout=60,
    )  # fmt: skip
    stale = []
    copies = {CHART / "files" / source.name: source.read_text() for source in COPIES}
    # One after the other: the charts are rendered with the copies in them.
    for files in (lambda: copies, rendered):
        for file, text in files().items():
            if not file.exists() or file.read_text() != text:
                stale.append(file.relative_to(ROOT))
                if not check:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text)
    if check and stale:
        print("stale; run scripts/generate_deploy.py:", *stale, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

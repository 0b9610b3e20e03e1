"""What the client costs a training before it logs anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support_naiad import clean_environment

# Each of them costs more time or memory than the whole client, and none is needed to write
# files: the shipper and the reading side import them in processes of their own, or when used.
HEAVY = {
    "_hashlib",
    "asyncio",
    "click",
    "grpc",
    "mimetypes",
    "numpy",
    "pandas",
    "platform",
    "psutil",
    "pyarrow",
    "rich",
    "socket",
    "ssl",
    "uuid",
}

SCRIPT = """
import sys
import naiad
with naiad.Run(project="a/b", mode="offline", log_directory=sys.argv[1]) as run:
    run.log_configs({"lr": 0.1})
    run.log_metrics({"loss": 1.0}, step=0)
    run.log_histograms({"weights": naiad.Histogram([0, 1, 2], counts=[3, 4])}, step=0)
print(*sorted(sys.modules))
"""


def test_a_training_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=clean_environment(NAIAD_QUIET="1"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "naiad" in loaded
    assert not HEAVY & loaded

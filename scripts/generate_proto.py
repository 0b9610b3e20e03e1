"""Generates naiad_proto.v1 from proto/schema, or with --check says whether it is fresh.

The schema's package is `naiad.v1`, but a Python package `naiad` is the client. So the
generated modules live in `naiad_proto.v1` and their imports are rewritten.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "proto" / "schema"
TARGET = ROOT / "proto" / "naiad_proto" / "v1"


def generate(target: Path) -> None:
    sources = sorted(str(p.relative_to(SCHEMA)) for p in SCHEMA.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as out:
        arguments = [
            "protoc",
            f"-I{SCHEMA}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed; its message stands above")
        target.mkdir(parents=True, exist_ok=True)
        (target / "__init__.py").write_text(
            '"""Generated from proto/schema; see `make proto`."""\n'
        )
        for path in sorted((Path(out) / "naiad" / "v1").iterdir()):
            text = re.sub(
                r"\bfrom naiad\.v1 import", "from naiad_proto.v1 import", path.read_text()
            )
            text = re.sub(r"\bimport naiad\.v1\.", "import naiad_proto.v1.", text)
            text = re.sub(r"(?<![\w.'\"/])naiad\.v1\.(?=\w+_pb2)", "naiad_proto.v1.", text)
            (target / path.name).write_text(text)


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as fresh:
            generate(Path(fresh))
            names = {p.name for p in Path(fresh).iterdir()}
            present = {p.name for p in TARGET.iterdir() if p.name != "__pycache__"}
            stale = names ^ present | {
                n
                for n in names & present
                if (Path(fresh) / n).read_text() != (TARGET / n).read_text()
            }
        if stale:
            raise SystemExit(
                f"generated code is stale, run `make proto`: {', '.join(sorted(stale))}"
            )
        print("generated protobuf code is fresh")
        return
    shutil.rmtree(TARGET, ignore_errors=True)
    generate(TARGET)


if __name__ == "__main__":
    main()

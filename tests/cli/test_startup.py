"""What must not be imported before it is needed. How long it takes: ``benchmarks/startup.py``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from makers.shell import environment

CODE = """
import json, sys
from torchkeep.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    status = end.code
json.dump([status, sorted(sys.modules)], sys.stderr)
"""

HEAVY = {"torch", "numpy", "safetensors", "polars", "pyarrow", "rich", "PIL", "obstore", "psycopg"}
NOT_FOR_HELP = HEAVY | {
    "pydantic",
    "cryptography",
    "tomllib",
    "importlib.metadata",
    "torchkeep.core.plugins",
    "torchkeep.core.messages",
    "torchkeep.audit",
    "asyncio",
    "multiprocessing",
    "urllib.request",
    "http.client",
    "sqlite3",
    "zipfile",
}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], NOT_FOR_HELP),
        (["-h"], NOT_FOR_HELP),
        (["--version"], NOT_FOR_HELP),
        ([], NOT_FOR_HELP),
        (["nope"], NOT_FOR_HELP),
        (["audit", "--help"], HEAVY | {"torchkeep.audit", "torchkeep.core.plugins"}),
        (["explain", "TK-SCAN-001"], HEAVY),
        (["audit", "."], HEAVY),
    ],
)
def test_what_is_not_imported(tmp_path, arguments, absent):
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
    )
    status, modules = json.loads(done.stderr.decode().splitlines()[-1])
    assert status == (2 if arguments in ([], ["nope"]) else 0)
    assert not absent & set(modules)
    assert "torchkeep.cli.app" in modules

"""The command line: parse, call, print. No logic lives here.

Data goes to standard output, everything meant for a person who watches goes to standard error.
Exit status: 0 clean, 1 a verdict against, 2 usage or failure, 3 incomplete.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        from torchkeep.cli.app import run

        status = run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # before, or after, there was anything to interrupt
        status = 130
    sys.exit(status)


__all__ = ["main"]

"""``python -m torchkeep``."""

import sys

# `python -m` puts the current folder first on the search path. A project that is looked at must not
# bring modules of its own, so it goes before anything else is imported.
if not sys.flags.safe_path:
    del sys.path[0]

from torchkeep.cli import main

if __name__ == "__main__":
    main()

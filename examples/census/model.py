"""The two models of the census project, and the data that they are trained and tested on.

``income`` says from twelve answers of a census form whether a person earns more than 50,000 dollars
a year; ``fashion`` names the garment on a small grey picture.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

DATA: Final = Path(__file__).parent / "data"
Pair = tuple[Tensor, Tensor]

# Centres and scales are round figures of general knowledge, and the answers are those that the form
# offers. Nothing is measured on the table, so none of this tells anything about its people.
NUMBERS: Final = {
    "age": (40, 15),
    "education_num": (10, 3),
    "capital_gain": (0, 10),  # of the logarithm, as the next one
    "capital_loss": (0, 10),
    "hours_per_week": (40, 12),
}
ANSWERS: Final = {
    "workclass": """? Federal-gov Local-gov Never-worked Private Self-emp-inc Self-emp-not-inc
        State-gov Without-pay""",
    "marital_status": """? Divorced Married-AF-spouse Married-civ-spouse Married-spouse-absent
        Never-married Separated Widowed""",
    "occupation": """? Adm-clerical Armed-Forces Craft-repair Exec-managerial Farming-fishing
        Handlers-cleaners Machine-op-inspct Other-service Priv-house-serv Prof-specialty
        Protective-serv Sales Tech-support Transport-moving""",
    "relationship": "? Husband Not-in-family Other-relative Own-child Unmarried Wife",
    "race": "? Amer-Indian-Eskimo Asian-Pac-Islander Black Other White",
    "sex": "? Female Male",
    "native_country": """? Cambodia Canada China Columbia Cuba Dominican-Republic Ecuador
        El-Salvador England France Germany Greece Guatemala Haiti Holand-Netherlands Honduras Hong
        Hungary India Iran Ireland Italy Jamaica Japan Laos Mexico Nicaragua
        Outlying-US(Guam-USVI-etc) Peru Philippines Poland Portugal Puerto-Rico Scotland South
        Taiwan Thailand Trinadad&Tobago United-States Vietnam Yugoslavia""",
}
CODES: Final = {
    column: {answer: code for code, answer in enumerate(answers.split())}
    for column, answers in ANSWERS.items()
}


def encode(rows: Iterable[Mapping[str, str]]) -> Tensor:
    """One row of twelve floats per person: five numbers, then seven codes (0: not known)."""
    return torch.tensor(
        [
            [float(row[column]) for column in NUMBERS]
            + [float(codes.get(row[column], 0)) for column, codes in CODES.items()]
            for row in rows
        ]
    )


class Income(nn.Module):
    """Two logits (up to, and above 50,000 dollars) from rows as :func:`encode` makes them."""

    centre: Tensor
    scale: Tensor
    answer_column: Tensor
    answer_code: Tensor

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        centre, scale = zip(*NUMBERS.values(), strict=True)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        # One entry per known answer: the input column it stands in, and its code there.
        answers = [
            (column, code)
            for column, codes in enumerate(CODES.values(), start=len(NUMBERS))
            for code in codes.values()
        ]
        column, code = zip(*answers, strict=True)
        self.register_buffer("answer_column", torch.tensor(column))
        self.register_buffer("answer_code", torch.tensor(code, dtype=torch.float32))
        self.layers = nn.Sequential(
            nn.Linear(len(NUMBERS) + len(answers), width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        money = torch.log1p(x[:, 2:4].clamp(min=0))
        numbers = (torch.cat([x[:, :2], money, x[:, 4:5]], dim=1) - self.centre) / self.scale
        answers = (x[:, self.answer_column] == self.answer_code).to(x.dtype)
        logits: Tensor = self.layers(torch.cat([numbers, answers], dim=1))
        return logits


def build_income() -> nn.Module:
    """The income model, untrained."""
    return Income()


def build_fashion() -> nn.Module:
    """The garment model, untrained: 80,602 parameters, standardised 1x28x28 in, ten logits out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 48),
        nn.ReLU(),
        nn.Linear(48, 10),
    )


def income_train() -> Pair:
    """Four of five people in the table, drawn once and for all."""
    return _census(train=True)


def income_test() -> Pair:
    """The fifth that no training sees: 6,512 rows."""
    return _census(train=False)


def fashion_train() -> Pair:
    """6,000 pictures with pixels in [0, 1], 600 of each garment."""
    return _pictures("train")


def fashion_test() -> Pair:
    """1,000 pictures with pixels in [0, 1], 100 of each garment."""
    return _pictures("t10k")


def _census(*, train: bool) -> Pair:
    with (DATA / "census.csv").open(newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    cut = len(rows) // 5
    chosen = [rows[place] for place in (order[cut:] if train else order[:cut])]
    return encode(chosen), torch.tensor([int(row["income"] == ">50K") for row in chosen])


def _pictures(part: str) -> Pair:
    pixels = _unpack(DATA / "fashion" / f"{part}-images-idx3-ubyte.gz", header=16)
    labels = _unpack(DATA / "fashion" / f"{part}-labels-idx1-ubyte.gz", header=8)
    return pixels.view(-1, 1, 28, 28) / 255, labels.long()


def _unpack(path: Path, header: int) -> Tensor:
    body = bytearray(gzip.decompress(path.read_bytes())[header:])
    return torch.frombuffer(body, dtype=torch.uint8)

"""Make census.csv and fashion/ from the original files in $TORCHKEEP_DATA.

README.md in this folder lists the SHA-256 of every file that is read and every file that is made;
a file that differs from that list stops the script. Nothing here is needed to run the example.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
COLUMNS: Final = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,"
    "capital_gain,capital_loss,hours_per_week,native_country,income"
)
PER_CLASS: Final = {"train": 600, "t10k": 100}
DIGESTS: Final = {
    name: digest
    for digest, name in re.findall(
        r"^([0-9a-f]{64})  (\S+)$", (HERE / "README.md").read_text("utf-8"), re.MULTILINE
    )
}


def check(name: str, data: bytes) -> bytes:
    """``data``, if it is what README.md says that ``name`` holds."""
    if (digest := hashlib.sha256(data).hexdigest()) != DIGESTS.get(name):
        sys.exit(f"{name}: SHA-256 is {digest}, README.md says {DIGESTS.get(name)}")
    return data


def census(original: bytes) -> bytes:
    """A header line, comma without space, no blank line at the end."""
    rows = original.decode("ascii").split("\n")
    return "\n".join([COLUMNS, *(row.replace(", ", ",") for row in rows if row), ""]).encode()


def first_of_each_class(labels: bytes, count: int) -> list[int]:
    """Where the first ``count`` of each of the ten labels stand, in file order."""
    seen = [0] * 10
    chosen = []
    for place, label in enumerate(labels):
        seen[label] += 1
        if seen[label] <= count:
            chosen.append(place)
    return chosen


def pack(magic: int, shape: tuple[int, ...], body: bytes) -> bytes:
    """An IDX file in gzip, without the time and the name that gzip likes to add."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(struct.pack(f">{1 + len(shape)}I", magic, *shape) + body)
    return packed.getvalue()


def fashion(images: bytes, labels: bytes, per_class: int) -> tuple[bytes, bytes]:
    """The same two IDX files with fewer images in them."""
    pixels, marks = gzip.decompress(images)[16:], gzip.decompress(labels)[8:]
    chosen = first_of_each_class(marks, per_class)
    body = b"".join(pixels[784 * place : 784 * (place + 1)] for place in chosen)
    return (
        pack(0x803, (len(chosen), 28, 28), body),
        pack(0x801, (len(chosen),), bytes(marks[place] for place in chosen)),
    )


def made(source: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the example's data, by name."""

    def read(name: str) -> bytes:
        return check(name, (source / name).read_bytes())

    yield "census.csv", census(read("adult/adult.data"))
    for part, per_class in PER_CLASS.items():
        names = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
        images, labels = (read(f"fashion-mnist/{name}") for name in names)
        for name, data in zip(names, fashion(images, labels, per_class), strict=True):
            yield f"fashion/{name}", data


def main() -> None:
    """Make, check, write."""
    if not (source := os.environ.get("TORCHKEEP_DATA")):
        sys.exit("set TORCHKEEP_DATA to the folder that holds adult/ and fashion-mnist/")
    (HERE / "fashion").mkdir(exist_ok=True)
    for name, data in made(Path(source)):
        (HERE / name).write_bytes(check(name, data))
        print(f"{len(data):>9,}  {name}")


if __name__ == "__main__":
    main()

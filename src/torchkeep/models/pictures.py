"""Folders of pictures: one subfolder per class, its pictures in it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from torchkeep.core import progress
from torchkeep.core.errors import Foreign, MissingExtra
from torchkeep.core.text import visible
from torchkeep.models import bounded

if TYPE_CHECKING:
    from PIL.Image import Image

# Decoders for what data sets hold. Pillow has others, some of which start programs.
_FORMATS: Final = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_MODES: Final = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}


def read(path: Path, limit: int | None) -> tuple[Tensor, Tensor]:
    """The pictures of a folder.

    The classes are the subfolders, by name. The order is the first picture of each class, then the
    second of each: the first ``limit`` ones are of all classes.

    Args:
        path: The folder.
        limit: At most so many pictures, the first ones.

    Returns:
        Pixels of shape N,C,H,W (C is 1 or 3) in 0..255 and classes of shape N.

    Raises:
        SourceError: A picture cannot be read.
        MissingExtra: Pillow is not installed.
        Foreign: There is no class, something is no picture, or pictures differ in size or channels.
    """
    if not (found := _ordered(path)[:limit]):
        raise Foreign(
            f"{bounded.shown(path)} holds no pictures in subfolders",
            next="expected one subfolder per class, or `x` and `y` that name IDX files",
        )
    first = _pixels(found[0][0])
    bounded.check(first.nbytes * len(found), bounded.shown(path))
    x = torch.empty((len(found), *first.shape), dtype=torch.uint8)
    for place, (file, _) in enumerate(progress.track(found, "reading pictures", len(found))):
        pixels = _pixels(file)
        if pixels.shape != first.shape:
            raise Foreign(
                f"{bounded.shown(file)} is {_described(pixels)}, {bounded.shown(found[0][0])} is"
                f" {_described(first)}; expected pictures of one size",
                next="bring them to one size and mode first",
            )
        x[place] = torch.from_numpy(pixels)
    return x, torch.tensor([number for _, number in found])


def _ordered(path: Path) -> list[tuple[Path, int]]:
    classes = sorted(_visible(path, folders=True))
    ranked = [
        (rank, number, file)
        for number, folder in enumerate(classes)
        for rank, file in enumerate(sorted(_visible(folder, folders=False)))
    ]
    return [(file, number) for _, number, file in sorted(ranked)]


def _visible(path: Path, *, folders: bool) -> list[Path]:
    try:
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise Foreign(
            f"{bounded.shown(path)} cannot be listed: {error.strerror}",
            next="check who may read it",
        ) from error
    return [entry for entry in entries if entry.is_dir()] if folders else entries


def _pixels(path: Path) -> np.ndarray:
    """One picture as C,H,W bytes."""
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingExtra("Reading pictures", "images") from error
    name, data = bounded.shown(path), io.BytesIO(bounded.read(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(data, formats=_FORMATS) as image:
                return _channels(image, name)
    except Foreign:
        raise
    except Exception as error:  # decoders raise anything over a damaged picture
        raise Foreign(
            f"{name} is no picture that Pillow can read ({', '.join(_FORMATS)}):"
            f" {visible(str(error))}",
            next="remove it from the folder, or convert it",
        ) from error


def _channels(image: Image, name: str) -> np.ndarray:
    if image.mode not in _MODES:
        raise Foreign(
            f"{name} has the mode {image.mode}; expected grey (L) or RGB",
            next="convert it: what becomes of transparency or depth is yours to decide",
        )
    pixels = np.array(image.convert(_MODES[image.mode]))
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _described(pixels: np.ndarray) -> str:
    channels, height, width = pixels.shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"

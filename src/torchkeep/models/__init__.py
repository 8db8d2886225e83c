"""Turns a project's entry into a module and its test data; the one place that loads weights.

::

    from torchkeep import models
    from torchkeep.core.project import Project

    project = Project.open()
    income = models.load(project, "income")       # .module in eval mode, .content, .table
    test = models.test_data(project, "income")    # .x and .y, checked against the entry

What it trusts: the code of the project, and nothing else. Project code (``build`` and the callables
that return data) is imported only by commands that must run the model, and only from the project's
own folder; audits and scans never come here. Weights and data are taken for a stranger's:

- weights are read once, and what is loaded, hashed and named are those same bytes;
- no pickle is loaded as Python objects: pickled weights and arrays of objects are refused, and the
  sample inputs in an exported program must be tensors that ``weights_only=True`` takes;
- an exported program and a TorchScript archive are programs. Before torch sees one, everything in
  it that torch would evaluate as Python must be of a form known to be harmless, and every operator
  one that computes (:mod:`~torchkeep.models.exported`, :mod:`~torchkeep.models.script`);
- sizes that test data declare are checked before anything is allocated for them.

It does not promise that torch's own readers and operators are free of errors in memory, nor that a
program ends: who runs a stranger's program runs it where that does no harm.

Importing this package imports no torch; the first use of one of its names does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from torchkeep.core.errors import MissingExtra

if TYPE_CHECKING:
    from torchkeep.models.data import TestSet, test_data
    from torchkeep.models.loaded import Loaded, load
    from torchkeep.models.tensors import content_of

__all__ = ["Loaded", "TestSet", "content_of", "load", "test_data"]

_HOMES: Final = {
    "Loaded": "loaded",
    "TestSet": "data",
    "content_of": "tensors",
    "load": "loaded",
    "test_data": "data",
}
_PARTS: Final = ("numpy", "safetensors", "torch")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for part in _PARTS:
        try:
            import_module(part)
        except ModuleNotFoundError as error:
            if error.name != part:  # it is there, and something that it needs is not
                raise
            raise MissingExtra("Loading a model", "torch") from error
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

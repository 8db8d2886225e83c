r"""A guard around loading: what the scan does not call clean is not loaded.

While a guard is active in a process, two lines stand before every loader that it knows. At the
loader (:mod:`~torchkeep.scan.loading.pytorch`, :mod:`~torchkeep.scan.loading.arrays`) a file is
opened once and scanned, and the loader gets a :class:`~torchkeep.scan.loading.tape.Tape` in its
place: whatever the scan has read comes from memory, so that a file which is changed between the
look and the load gains nothing. Below, every unpickler of Python
(:mod:`~torchkeep.scan.loading.unpickle`) follows a pickle first and gets the very bytes that were
followed, whichever way it was reached.

    >>> import pickle
    >>> with guard():
    ...     pickle.loads(b"cposix\nsystem\n.")
    Traceback (most recent call last):
    torchkeep.scan.loading.refusal.Unsafe: <memory> was not loaded: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torchkeep.scan.loading import switch
from torchkeep.scan.loading.refusal import Unsafe
from torchkeep.scan.loading.terms import Terms
from torchkeep.scan.pickle.policy import Policy, Tier

__all__ = ["Unsafe", "guard", "install"]


@contextmanager
def guard(
    *, tier: Tier = Tier.MODULE, allowed: Policy | None = None, hub: bool = False
) -> Iterator[None]:
    """Refuse to load what is not clean, in the whole process, until the block ends.

    Guards may be nested, and several threads may have theirs: all that are active must agree. The
    guard goes along into processes that :mod:`multiprocessing` starts.

    Args:
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.
        hub: Whether ``torch.hub`` may run the Python code of a repository.

    Raises:
        Unsafe: From a loader, in place of what it would have returned.
    """
    terms = Terms(tier, dict(allowed or {}), hub)
    switch.enter(terms)
    try:
        yield
    finally:
        switch.leave(terms)


def install(*, tier: Tier = Tier.MODULE, allowed: Policy | None = None, hub: bool = False) -> None:
    """Guard loading for the rest of the process, as :func:`guard` does within a block."""
    switch.enter(Terms(tier, dict(allowed or {}), hub))

"""The machine against CPython's own unpickler: where a stream ends, and what it looks up.

By default a bounded share of what was generated; ``TORCHKEEP_SOAK=1`` makes it 1,000,000 streams.
"""

from __future__ import annotations

import _compat_pickle
import os
import pickle
import random
from collections import Counter, OrderedDict, deque

import pytest
from doubles.scanning import look, verdict
from doubles.streams import generated, mutated
from doubles.unpickler import Unpickler
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core.source import BytesSource
from torchkeep.scan.pickle.hits import What
from torchkeep.scan.pickle.machine import Machine
from torchkeep.scan.pickle.policy import Tier, of
from torchkeep.scan.verdict import Verdict

COUNT = 1_000_000 if os.environ.get("TORCHKEEP_SOAK") else 12_000
POLICY = of(Tier.MODULE)


@pytest.fixture(scope="module")
def unpickler():
    with Unpickler() as child:
        yield child


SEEDS = [
    pickle.dumps(value, protocol)
    for protocol in range(6)
    for value in (
        None, 5, -(1 << 70), 1.5, "text ü\n", b"bytes" * 3, [1, [2, [3]]], {"a": (1, 2, 3, 4)},
        {1, 2}, frozenset({"a"}), OrderedDict(a=1), Counter("aab"), deque([1]), complex(1, 2),
        bytearray(b"x"), ["same"] * 3, {"k" * 300: b"v" * 300}, True, [float("nan"), 2**31],
    )
]  # fmt: skip


def follow(data):
    return Machine(BytesSource(data), 0, POLICY).run()


def todays(module, name):
    """A name of Python 2 in today's spelling, as protocols below 3 have it."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def compare(unpickler, data):
    """Hold both against each other; returns how far the unpickler got."""
    ours, theirs = follow(data), unpickler.load(data)
    if not theirs.error:
        assert not ours.broken or ours.hits, (data, ours)
        if not ours.broken and not any(hit.what is What.FRAME for hit in ours.hits):
            assert ours.end == theirs.end, (data, ours, theirs)
    if not ours.hits and not ours.broken:
        # Protocols may change in midstream: a name is either what it says or what it maps to.
        for name in theirs.names:
            assert tuple(name) in POLICY or todays(*name) in POLICY, (data, name)
    return theirs.error


@pytest.mark.parametrize("data", SEEDS)
def test_valid_pickles_end_where_they_end(unpickler, data):
    assert compare(unpickler, data + b"behind") == ""
    assert follow(data + b"behind").end == len(data)
    assert verdict(data) is Verdict.CLEAN


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(4))
def test_generated_and_mutated_streams(unpickler, part):
    rng = random.Random(part)
    errors = Counter()
    for number in range(COUNT // 4):
        data = generated(rng) if number % 2 else mutated(rng, rng.choice(SEEDS))
        errors[compare(unpickler, data)] += 1
    # The comparison means something only when many streams get to their end.
    assert errors[""] > COUNT // 4 // 20, errors


@given(st.binary(max_size=300))
def test_any_bytes_have_a_verdict(data):
    assert isinstance(verdict(data, "model.bin"), Verdict)


@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
def test_damaged_pickles_have_a_verdict(data, rng):
    report = look(mutated(rng, data))
    assert isinstance(report.verdict, Verdict)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=20,
)  # fmt: skip


@given(VALUES, st.integers(0, 5))
def test_plain_values_are_clean(value, protocol):
    data = pickle.dumps(value, protocol)
    outcome = follow(data)
    assert (outcome.end, outcome.broken, outcome.hits) == (len(data), "", [])

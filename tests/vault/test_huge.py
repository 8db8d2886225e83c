"""The wish for large pages names whole pages of the memory that is asked about, and no other."""

from __future__ import annotations

import mmap

import pytest

from torchkeep.vault import huge


@pytest.fixture
def asked(monkeypatch):
    calls = []
    monkeypatch.setattr(huge, "_madvise", lambda: lambda *args: calls.append(args))
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 14, raising=False)
    return calls


@pytest.mark.parametrize("address", [huge.PAGE, huge.PAGE + 1, 3 * huge.PAGE - 1])
@pytest.mark.parametrize("length", [huge.PAGE, 2 * huge.PAGE + 5, 10 * huge.PAGE])
def test_only_whole_pages_within_are_asked_for(asked, address, length):
    huge.advise(address, length)
    for start, size, wish in asked:
        assert wish == 14
        assert start.value % huge.PAGE == size.value % huge.PAGE == 0
        assert address <= start.value
        assert start.value + size.value <= address + length
    missed = length - sum(size.value for _, size, _ in asked)
    assert missed < 2 * huge.PAGE


@pytest.mark.parametrize("length", [0, 1, huge.PAGE - 1])
def test_little_memory_is_left_alone(asked, length):
    huge.advise(huge.PAGE, length)
    assert asked == []


def test_a_system_that_does_not_know_it_is_not_asked(asked, monkeypatch):
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    huge.advise(huge.PAGE, 8 * huge.PAGE)
    assert asked == []

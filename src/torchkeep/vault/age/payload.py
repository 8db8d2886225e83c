"""What an age file carries: chunks of 64 KiB, each with its number, and the last one says so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from torchkeep.vault.age import header
from torchkeep.vault.suite import TAG

NONCE: Final = 16
"""Bytes before the first chunk."""

CHUNK: Final = 64 << 10


def encrypted(plain: io.BufferedReader, file_key: bytes, nonce: bytes) -> Iterator[memoryview]:
    """The chunks of a file; each is gone when the next one is asked for."""
    cipher = ChaCha20Poly1305(header.derive(file_key, nonce, b"payload"))
    with memoryview(bytearray(CHUNK)) as held, memoryview(bytearray(CHUNK + TAG)) as out:
        for number, length, is_last in _windows(plain, held):
            cipher.encrypt_into(_nonce(number, is_last), held[:length], None, out[: length + TAG])
            yield out[: length + TAG]


def decrypted(file: io.BufferedReader, file_key: bytes, nonce: bytes) -> Iterator[memoryview]:
    """The same back. What came before an error is what was encrypted, but not all of it.

    Raises:
        ValueError: A chunk is not what was encrypted, or the last one is missing.
    """
    cipher = ChaCha20Poly1305(header.derive(file_key, nonce, b"payload"))
    with memoryview(bytearray(CHUNK + TAG)) as held, memoryview(bytearray(CHUNK)) as out:
        try:
            for number, length, is_last in _windows(file, held):
                # An empty chunk is the only one: else a file could be spelled in two ways.
                if length < TAG + bool(number):
                    raise ValueError("its payload is cut short")
                into = out[: length - TAG]
                cipher.decrypt_into(_nonce(number, is_last), held[:length], None, into)
                yield into
        except InvalidTag:
            raise ValueError("its payload is not what was encrypted") from None
        finally:
            out[:] = bytes(CHUNK)


def _windows(file: io.BufferedReader, held: memoryview) -> Iterator[tuple[int, int, bool]]:
    """Fill ``held`` again and again: number, bytes, and whether it is the last time."""
    number, is_last = 0, False
    while not is_last:
        length = 0
        while length < len(held) and (more := file.readinto(held[length:])):
            length += more
        is_last = not file.peek(1)
        yield number, length, is_last
        number += 1


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])

"""Bech32 (BIP 173) without its limit of 90 characters, as age spells keys with it."""

from __future__ import annotations

from typing import Final

_LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES: Final = {letter: value for value, letter in enumerate(_LETTERS)}
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_SUM: Final = 6  # letters of the checksum


def encode(prefix: str, data: bytes) -> str:
    """Spell ``data`` behind ``prefix``, in the case of the prefix."""
    lower = prefix.lower()
    values = _regroup(data, 8, 5)
    total = _polymod([*_expand(lower), *values, *[0] * _SUM]) ^ 1
    values += [total >> 5 * (_SUM - 1 - n) & 31 for n in range(_SUM)]
    text = f"{lower}1" + "".join(_LETTERS[value] for value in values)
    return text if prefix == lower else text.upper()


def decode(text: str) -> tuple[str, bytes]:
    """Prefix and data; the prefix keeps its case.

    Raises:
        ValueError: It is not well-formed, or a letter is wrong.
    """
    prefix, one, rest = text.rpartition("1")
    if not one or not prefix or text not in (text.lower(), text.upper()):
        raise ValueError("not spelled in Bech32")
    if not all(33 <= ord(letter) <= 126 for letter in prefix):
        raise ValueError("not spelled in Bech32")
    values = [_VALUES.get(letter, -1) for letter in rest.lower()]
    if len(values) < _SUM or -1 in values or _polymod([*_expand(prefix.lower()), *values]) != 1:
        raise ValueError("a letter is wrong or missing")
    return prefix, _bytes(values[:-_SUM])


def _bytes(values: list[int]) -> bytes:
    out = bytes(_regroup(bytes(values), 5, 8))
    if _regroup(out, 8, 5) != values:  # bits behind the last byte must be few, and zero
        raise ValueError("a letter is wrong or missing")
    return out


def _regroup(data: bytes, width: int, new: int) -> list[int]:
    """Bits in groups of ``new``; what is left at the end fills a group only when widening."""
    held = bits = 0
    out: list[int] = []
    for value in data:
        held = (held << width | value) & 0xFFF
        bits += width
        while bits >= new:
            bits -= new
            out.append(held >> bits & (1 << new) - 1)
    if bits and new < width:
        out.append(held << new - bits & (1 << new) - 1)
    return out


def _expand(prefix: str) -> list[int]:
    codes = [ord(letter) for letter in prefix]
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for number, generator in enumerate(_GENERATORS):
            if top >> number & 1:
                check ^= generator
    return check

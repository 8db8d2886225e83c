"""A second reader of sealed files, from docs/sealed-format.md alone; refuses with ValueError."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import re
import struct
import time
from collections import namedtuple
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SUITES = {1: (AESGCM, hashlib.sha256), 2: (ChaCha20Poly1305, hashlib.sha256)}
with contextlib.suppress(ImportError):
    from blake3 import blake3

    SUITES |= {3: (AESGCM, blake3), 4: (ChaCha20Poly1305, blake3)}

WORD, NOTE, MOST = b"torchkeep-sealed-v1 ", b"torchkeep-append-v1\n", 2**53 - 1
BODIES = {"x25519": 80, "xwing": 1168, "argon2id": 76}
WIDTHS = {64: "F64 I64 U64 C64", 32: "F32 I32 U32", 16: "F16 BF16 I16 U16", 6: "F6_E2M3 F6_E3M2",
          8: "BOOL U8 I8 F8_E4M3 F8_E4M3FNUZ F8_E5M2 F8_E5M2FNUZ F8_E8M0", 4: "F4"}  # fmt: skip
BITS = {name: bits for bits, names in WIDTHS.items() for name in names.split()}

# What a value may be: text by its pattern, a number by its bounds, the items of a list.
NUMBER, COUNT, ID = (0, MOST), (1, MOST), "[0-9a-f]{64}"
PATH = r"(?!.*(?:^|/)\.{0,2}(?:/|\Z))[^\0\\:]{1,4096}"
HEADER = {"chunk": (16, 22), "commitment": ID, "file": "[0-9a-f]{32}", "model": ".{1,200}",
    "previous": None, "signers": [ID], "suite": (1, max(SUITES)), "version": COUNT}  # fmt: skip
MANIFEST = {"data": NUMBER, "header": ID, "index": NUMBER, "root": ID, "sealed": NUMBER,
            "policy": {}, "segments": COUNT}  # fmt: skip
POLICY = {"not_before": NUMBER, "not_after": NUMBER, "recipients": [ID], "versions": [COUNT]}
INDEX = {"content": None, "metadata": {}, "parts": [{}]}
PART = {"kind": "tensors|file|records", "path": PATH, "table": NUMBER}
FILE = PART | {"bytes": NUMBER, "table": (0, 0)}
TENSOR = {"dtype": "|".join(BITS), "shape": [(0, 2**64 - 1)], "data_offsets": [NUMBER]}

CANONICAL = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
Part = namedtuple("Part", "kind path items table")  # tensors: (name, dtype, shape, bytes)
Sealed = namedtuple("Sealed", "header manifest stanzas generation index parts")


def open(path, identities=(), level="full", now=None) -> Sealed:  # noqa: A001
    """Identities are ("x25519" | "xwing", secret of 32 bytes) or ("argon2id", passphrase)."""
    data, note = Path(path).read_bytes(), Path(f"{path}.append")
    try:
        blocks(data)
    except ValueError:
        said = note.read_bytes() if note.exists() else b""
        need(len(said) == len(NOTE) + 8 and said.startswith(NOTE), "a damaged end")
        data = data[: int.from_bytes(said[-8:], "little")]
    return of(data, identities, level, time.time() if now is None else now)


def of(data: bytes, identities, level: str, now: float) -> Sealed:
    try:
        return read(data, blocks(data), identities, level, now)
    except (InvalidTag, InvalidSignature, RecursionError, TypeError, struct.error) as error:
        raise ValueError(f"refused: {error!r}") from error


def need(true: object, what: str) -> None:
    if not true:
        raise ValueError(what)


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        need(len(self.data) - self.at >= count, "cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")


def fits(value: object, rule: object) -> bool:
    if isinstance(rule, tuple):
        return type(value) is int and rule[0] <= value <= rule[1]
    if isinstance(rule, list):
        return isinstance(value, list) and all(fits(item, rule[0]) for item in value)
    if isinstance(rule, dict) or value is None:
        return isinstance(value, dict) or rule is None
    return isinstance(value, str) and bool(re.fullmatch(rule or ID, value, re.DOTALL))


def checked(value: object, rules: dict, missing=()) -> dict:
    need(isinstance(value, dict) and rules.keys() - missing <= value.keys(), "a key is missing")
    for key in value:
        need(key in rules and fits(value[key], rules[key]), f"{key} is unknown, or wrong")
    return value


def once(pairs: list) -> dict:
    need(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)


def parsed(data: bytes, rules: dict) -> dict:
    value = checked(json.loads(data.decode(), object_pairs_hook=once), rules)
    need(CANONICAL(value).encode() == data, "JSON is not canonical")
    return value


def blocks(data: bytes) -> list[dict]:
    need(len(data) > 16 and data[-8:] == b"TKSFOOT1", "no end")
    last = len(data) - 16 - int.from_bytes(data[-16:-8], "little")
    at = start = int.from_bytes(data[last + 16 : last + 24], "little")
    need(start <= last and len(data) - start <= 64 << 20, "too many keys, or none")
    found: list[dict] = []
    while at < len(data):
        found.append(block(data, start, at, len(found) + 1))
        at = found[-1]["end"]
    need(found[-1]["start"] == last and len({key["manifest"] for key in found}) == 1, "no chain")
    return found


def block(data: bytes, start: int, at: int, generation: int) -> dict:
    rest, stanzas = Bytes(data[at:]), []
    need(rest.take(8) == b"TKSKEYS1" and rest.number(8) == generation, "another block")
    need(rest.number(8) == start > (manifest := rest.number(8)), "another end of what is sealed")
    need(rest.number(8) == at, "a block at another place")
    before, count = rest.take(32), rest.number(4)
    need(before == hashlib.sha256(data[start:at]).digest() and count <= 4096, "another block")
    for _ in range(count):
        kind = rest.take(rest.number(1)).decode("ascii")
        body = rest.take(rest.number(4))
        need(len(body) == BODIES.get(kind, len(body)), f"a stanza of another length: {kind}")
        need(kind != "argon2id" or count == 1, "a passphrase that is not alone")
        stanzas.append((kind, body))
    covered, code = rest.data[: rest.at], rest.take(32)
    need(rest.number(8) == rest.at - 8 and rest.take(8) == b"TKSFOOT1", "no end of a block")
    return {"start": at, "end": at + rest.at, "immutable": start, "manifest": manifest,
            "stanzas": stanzas, "covered": covered, "code": code}  # fmt: skip


def read(data: bytes, keys: list[dict], identities, level: str, now: float) -> Sealed:
    front, at = Bytes(data[: keys[0]["immutable"]]), keys[0]["manifest"]
    need(front.take(8) == b"TKSEAL1\n" and (length := front.number(4)) <= 65536, "no header")
    header = parsed(front.take(length), HEADER)
    hh, back = hashlib.sha256(data[: front.at]).digest(), Bytes(front.data[at:])
    need((length := back.number(4)) <= 1 << 20, "a long manifest")
    manifest = parsed(back.take(length), MANIFEST)
    signed, closing = hh + hashlib.sha256(back.data[: back.at]).digest(), back.take(32)
    signatures = [back.take(2 + 32 + 1952 + 64 + 3309) for _ in range(back.number(2))]
    need(back.at == len(back.data) and len(signatures) <= 16, "something behind the signatures")
    sections = [front.take(manifest["data"]), front.take(manifest["index"])]
    count = manifest["segments"]
    entries, pages = front.take(36 * count), front.take(40 * -(-count // 1024))
    need(front.at == at and manifest["header"] == hh.hex(), "a manifest of other sections")
    lengths = [length for (length,) in struct.iter_unpack("<I32x", entries)]
    if level != "tags":
        segments(b"".join(sections), lengths, entries, pages, header, manifest["root"])
    signers = [signer(one, signed, level != "tags") for one in signatures]
    need(signers == header["signers"] == sorted(set(signers)), "other signers than the header's")
    key, recipient = (None, "") if level == "public" else unlock(header, hh, keys, identities)
    policy = checked(manifest["policy"], POLICY, missing=POLICY)
    listed, (low, high) = policy.get("recipients", [recipient]), policy.get("versions", COUNT)
    need(listed == sorted(set(listed)) and len(listed) <= 4096, "recipients out of order")
    need(policy.get("not_before", 0) <= int(now) <= policy.get("not_after", MOST), "not now")
    need(low <= header["version"] <= high and recipient in ["", *listed], "not this, or not you")
    index = parts = None
    if key:
        need(hmac.digest(key(b"closing"), signed, "sha256") == closing, "a wrong closing")
        index, parts, cuts = contents(header, key, sections)
        need(level == "tags" or cuts == lengths, "segments that end elsewhere")
    return Sealed(header, manifest, keys[-1]["stanzas"], len(keys), index, parts)


def segments(data: bytes, lengths: list[int], entries: bytes, pages: bytes, header, root) -> None:
    digest, rest, expected = SUITES[header["suite"]][1], Bytes(data), b""
    need(max(lengths) <= (2 << header["chunk"]) + 16, "a long segment")
    for number, length in enumerate(lengths):
        found = digest(b"\0" + rest.take(length)).digest()
        need(found == entries[36 * number + 4 : 36 * number + 36], "a wrong segment")
    for at in range(0, len(lengths), 1024):
        page = digest(b"\1" + entries[36 * at : 36 * (at + 1024)]).digest()
        expected += struct.pack("<Q", sum(lengths[at : at + 1024])) + page
    need(rest.at == len(data) and pages == expected, "wrong pages")
    need(digest(b"\2" + struct.pack("<Q", len(lengths)) + pages).hexdigest() == root, "a root")


def signer(data: bytes, signed: bytes, verify: bool) -> str:
    algorithm, classic, lattice, one, two = struct.unpack("<H32s1952s64s3309s", data)
    need(algorithm == 1, "an unknown algorithm")
    if verify:
        message = WORD + b"signature" + signed
        ed25519.Ed25519PublicKey.from_public_bytes(classic).verify(one, message)
        mldsa.MLDSA65PublicKey.from_public_bytes(lattice).verify(two, message, WORD[:-1])
    return hashlib.sha256(b"torchkeep-signer-v1" + classic + lattice).hexdigest()


def unlock(header: dict, hh: bytes, keys: list[dict], identities):
    for (kind, secret), (name, body) in itertools.product(identities, keys[-1]["stanzas"]):
        with contextlib.suppress(InvalidTag):
            if kind == name:
                public, file_key = unwrap(kind, secret, body, hh)
                break
    else:
        raise ValueError("no identity opens this file")
    tag = b"torchkeep-recipient-v1" + kind.encode() + b"\0" + public
    bound = WORD + b"commitment" + bytes.fromhex(header["file"])
    need(header["commitment"] == hmac.digest(file_key, bound, "sha256").hex(), "another key")
    prk = hmac.digest(hh, file_key, "sha256")

    def key(label: bytes) -> bytes:  # one block of HKDF-Expand is as long as a key
        return hmac.digest(prk, WORD + label + b"\1", "sha256")

    for one in keys:
        made = hmac.digest(key(b"keys"), hh + one["covered"], "sha256")
        need(made == one["code"], "a wrong key block")
    return key, hashlib.sha256(tag).hexdigest()


def unwrap(kind: str, secret: bytes, body: bytes, hh: bytes) -> tuple[bytes, bytes]:
    if kind == "argon2id":
        memory, passes, lanes, salt, wrapped = struct.unpack("<III16s48s", body)
        need(memory <= 4 << 20 and passes <= 64 and lanes <= 64, "too costly")
        kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
        return b"", AESGCM(kdf.derive(secret)).decrypt(bytes(12), wrapped, hh)
    seed = hashlib.shake_256(secret).digest(96) if kind == "xwing" else secret
    kem, private = hpke.KEM.X25519, x25519.X25519PrivateKey.from_private_bytes(seed[-32:])
    public = private.public_key().public_bytes_raw()
    if kind == "xwing":
        lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64])
        kem, public = hpke.KEM.MLKEM768_X25519, lattice.public_key().public_bytes_raw() + public
        private = hpke.MLKEM768X25519PrivateKey(lattice, private)
    suite = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return public, suite.decrypt(body, private, WORD + b"recipient" + hh)


def contents(header: dict, key, sections: list[bytes]) -> tuple[dict, list[Part], list[int]]:
    cipher, size = SUITES[header["suite"]][0], 1 << header["chunk"]
    (data, index), cuts, ordinal, parts = map(Bytes, sections), [[], []], 0, []
    length = len(index.data) - 16 * -(-len(index.data) // (size + 16))
    text = Bytes(item(cipher(key(b"index")), index, length, size, cuts[1]))
    facts = parsed(text.take(text.number(4)), INDEX)
    checked(facts["metadata"], dict.fromkeys(facts["metadata"], ".*"))
    for part in facts["parts"]:
        checked(part, FILE if part.get("kind") == "file" else PART)
        table, items = text.take(part["table"]), []
        for shown, descriptor, length in items_of(part, table):
            digest = hashlib.sha256(CANONICAL(descriptor).encode()).digest()
            label = b"item" + struct.pack("<Q", ordinal) + digest
            clear = item(cipher(key(label)), data, length, size, cuts[0])
            items.append((*shown, clear) if shown else clear)
            ordinal += 1
        parts.append(Part(part["kind"], part["path"], items, table))
    need(all(one.at == len(one.data) for one in (text, data, index)), "bytes of nothing")
    need(len({part.path for part in parts}) == len(parts), "a path twice")
    return facts, parts, cuts[0] + cuts[1]


def item(cipher, data: Bytes, length: int, size: int, cuts: list[int]) -> bytes:
    count, found = max(1, -(-length // size)), b""
    for chunk in range(count):
        sealed = data.take(min(size, length - chunk * size) + 16)
        found += cipher.decrypt(struct.pack(">?xxxQ", chunk == count - 1, chunk), sealed, None)
        if not cuts or cuts[-1] >= size:
            cuts.append(0)
        cuts[-1] += len(sealed)
    return found


def items_of(part: dict, table: bytes):
    if part["kind"] == "file":
        yield (), ["file", part["path"]], part["bytes"]
    elif part["kind"] == "tensors":
        yield from tensors(part, table)
    else:
        for number, (length,) in enumerate(struct.iter_unpack("<Q", table)):
            yield (), ["record", part["path"], number, length], length


def tensors(part: dict, table: bytes):
    facts, last = json.loads(table.decode(), object_pairs_hook=once), 0
    need(table[:1] == b"{", "no header of safetensors")
    metadata = facts.pop("__metadata__", {})
    checked(metadata, dict.fromkeys(metadata, ".*"))
    slots = [(checked(fact, TENSOR)["data_offsets"], name, fact) for name, fact in facts.items()]
    for (start, end), name, fact in sorted(slots, key=lambda slot: slot[:2]):
        dtype, shape, bits = fact["dtype"], fact["shape"], BITS[fact["dtype"]]
        for dimension in shape:
            need((bits := bits * dimension) < 1 << 67, "a tensor that is too large")
        need(start == last and 8 * (end - start) == bits, f"tensor {name} does not fit")
        last = end
        descriptor = ["tensor", part["path"], name, dtype, shape, end - start]
        yield (name, dtype, tuple(shape)), descriptor, end - start

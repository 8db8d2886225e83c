"""Machine code, and the kinds of models that are known by name only."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import sys
import tarfile
from pathlib import Path

import pytest
from doubles.scanning import look, rules, verdict
from doubles.zips import Record, archive

from torchkeep.scan.verdict import Verdict

PE = b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + b"PE\0\0" + bytes(100)
NATIVE = {
    "Linux": b"\x7fELF\x02\x01\x01" + bytes(200),
    "Windows": PE,
    "macOS, 32 bits": b"\xce\xfa\xed\xfe" + bytes(200),
    "macOS, 64 bits": b"\xcf\xfa\xed\xfe" + bytes(200),
    "macOS, big-endian": b"\xfe\xed\xfa\xcf" + bytes(200),
    "macOS, old": b"\xfe\xed\xfa\xce" + bytes(200),
    "macOS, two machines": b"\xca\xfe\xba\xbe\0\0\0\2" + bytes(200),
    "macOS, two machines of 64 bits": b"\xca\xfe\xba\xbf\0\0\0\2" + bytes(200),
    "CUDA": b"\x50\xed\x55\xba" + bytes(200),
    "WebAssembly": b"\0asm\1\0\0\0" + bytes(20),
    "bitcode": b"BC\xc0\xde" + bytes(200),
    "bitcode in a wrapper": b"\xde\xc0\x17\x0b" + bytes(200),
    "static library": b"!<arch>\nfile.o/" + bytes(200),
}


def tar(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("model.bin")
        info.size = len(data)
        made.addfile(info, io.BytesIO(data))
    return out.getvalue()


PACKED = {
    "alone": lambda data: data,
    "zip": lambda data: archive(Record(b"a/model.so", data)),
    "zip, deflated": lambda data: archive(Record(b"a/data", data, method=8)),
    "tar": tar,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("data", NATIVE.values(), ids=NATIVE)
def test_machine_code_wherever_it_is(data, pack):
    for file in ("model.so", "model.pt", "README", "x.png"):
        assert rules(pack(data), file) == {46}
    assert verdict(pack(data)) is Verdict.NEEDS_REVIEW


def test_a_real_program():
    start = Path(sys.executable).resolve().read_bytes()[:4096]
    assert 46 in rules(start, "model.so")


OTHERS = {
    "a class of Java": b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(200),
    "MZ and no more": b"MZ" + bytes(10),
    "MZ and something": b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(200),
    "MZ and a place behind the end": b"MZ" + bytes(58) + struct.pack("<I", 1 << 31) + bytes(9),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_what_only_begins_like_it_is_not_scanned(data):
    assert rules(data, "model.so") == {61}
    assert verdict(data, "model.so") is Verdict.NOT_SCANNED


def test_what_else_such_a_file_is():
    both = NATIVE["Linux"] + archive(Record(b"a/data.pkl", b"\x80\x02cos\nsystem\n."))
    assert rules(both, "model.so") >= {10, 46}


UNREAD = {
    "rar": b"Rar!\x1a\x07\x01\0" + bytes(50),
    "7z": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(50),
    "executorch": struct.pack("<I", 28) + b"ET12" + bytes(50),
    "tflite": struct.pack("<I", 28) + b"TFL3" + bytes(50),
    "tensorrt": b"ftrt" + bytes(50),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_kinds_that_are_not_scanned_are_called_by_their_name(kind):
    for file in ("model", "model.bin", "x.png"):
        report = look(UNREAD[kind], file)
        assert (report.verdict, [issue.rule for issue in report.issues]) == (
            Verdict.NOT_SCANNED,
            ["TK-SCAN-061"],
        )
        assert kind in report.issues[0].message.text("en")
    assert verdict(archive(Record(b"a/x", UNREAD[kind])), "model.zip") is Verdict.NOT_SCANNED


# Messages of protocol buffers, without a single zero.
SAVED_MODEL = b"\x08\x01\x12\x0c\x12\x02\x1a\x03cpu\x0a\x03tag" * 9
COREML = b"\x08\x05\x12\x09\x0a\x07\x0a\x05image\x1a\x04\x0a\x02x\x01" * 9


@pytest.mark.parametrize("data", [SAVED_MODEL, COREML])
@pytest.mark.parametrize("file", ["saved_model.pb", "net.mlmodel", "weights", "a.txt", "x.engine"])
def test_graphs_of_other_libraries_are_not_scanned(data, file):
    assert verdict(data, file) is Verdict.NOT_SCANNED


def test_a_text_may_have_a_few_odd_characters():
    text = b"a form feed\x0c, a bell\x07" + b" and a lot of prose" * 3
    assert verdict(text, "a.txt") is Verdict.NOT_A_MODEL

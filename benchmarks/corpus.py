"""Labelled files for benchmarks/scan.py: payloads that no tool may load, and honest files.

Payloads name callables that would run code; nothing here or there ever loads one. The honest files
are what torch, numpy, joblib, safetensors and pickle themselves write.

    python benchmarks/corpus.py FOLDER
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.streams import WAYS, call, name, text
from doubles.zips import PAYLOAD, PLAIN, Record, archive, torch_like

File = tuple[str, bytes]

GADGETS = """
    builtins.eval nt.system subprocess.Popen timeit.timeit pkgutil.resolve_name runpy.run_path
    cProfile.run profile.run pydoc.locate torch.hub.load ctypes.CDLL codecs.open io.open
    http.client.HTTPConnection logging.config.fileConfig multiprocessing.spawn.spawn_main
    joblib.load yaml.load weakref.finalize importlib.import_module marshal.loads
    distutils.spawn.spawn idlelib.run.Executive uuid._get_command_stdout imaplib.IMAP4_stream
    operator.methodcaller numpy.load numpy.fromfile numpy.memmap numpy.f2py.crackfortran.myeval
    torch.utils.bottleneck.__main__.run_autograd_prof torch._inductor.codecache.PyCodeCache.load
    bdb.Bdb code.InteractiveInterpreter pip.main ensurepip.bootstrap asyncio.run functools.partial
    ssl.get_server_certificate webbrowser.open venv.create doctest.debug_script trace.Trace
    torch.serialization.load torch.jit.load pandas.read_pickle zipimport.zipimporter pty.spawn
""".split()
DOTTED = [
    ("builtins", "__import__.__call__"), ("collections", "_sys.modules.get"),
    ("torch", "serialization.os.system"), ("numpy", "ndarray.tofile"), ("random", "_os.system"),
    ("torch._dynamo.guards", "GuardBuilder.get"), ("logging", "os.system"),
    ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
]  # fmt: skip


def malicious() -> Iterator[File]:
    """Files that run code, or take a process down, when they are loaded."""
    yield from _streams()
    for dotted in GADGETS:
        module, _, attribute = dotted.rpartition(".")
        yield f"gadget-{dotted}.pkl", call(module, attribute)
    for module, attribute in DOTTED:
        yield f"dotted-{module}.{attribute}.pkl", call(module, attribute, "STACK_GLOBAL")
    yield from _containers()
    yield from _bombs()


def _streams() -> Iterator[File]:
    bad = call("posix", "system")
    for way in WAYS:
        yield f"stream-{way}.pkl", call("posix", "system", way)
    for protocol in range(2, 6):
        head = b"\x80" + bytes([protocol])
        body = name("posix", "system") + text("id") + b"\x85R."
        yield f"stream-protocol{protocol}.pkl", head + body
    yield "stream-protocol0.pkl", b"cposix\nsystem\np0\n(S'id'\np1\ntp2\nRp3\n."
    yield "stream-protocol1.pkl", b"cposix\nsystem\nq\x00(U\x02idq\x01tq\x02Rq\x03."
    yield "stream-second.pkl", pickle.dumps({"a": 1}) + bad
    yield "stream-broken-behind.pkl", bad[:-1] + b"\xff\xff\xff"
    yield "stream-cut.pkl", bad[:-1]
    yield (
        "stream-nested.pkl",
        call("torch.storage", "_load_from_bytes").replace(
            text("id"), b"B" + struct.pack("<I", len(bad)) + bad
        ),
    )
    yield "stream-extension.pkl", b"\x80\x04\x82\x07."
    yield "stream-persistent.pkl", b"\x80\x04" + text("id") + b"Q."
    yield "stream-computed-name.pkl", b"\x80\x04" + text("posix") + b"\x8c\x06system\x93)R."


def _containers() -> Iterator[File]:
    yield "zip-torch.pt", archive(*torch_like(PAYLOAD))
    yield "zip-deflated.pt", archive(*torch_like(PAYLOAD, method=8))
    yield "zip-upper-case.pt", archive(*torch_like(PAYLOAD, name=b"archive/DATA.PKL"))
    yield "zip-encrypted-flag.pt", archive(*torch_like(PAYLOAD, flags=1))
    yield "zip-wrong-crc.pt", archive(*torch_like(PAYLOAD, crc=5))
    yield "zip-two-names.pt", archive(*torch_like(PAYLOAD, local={"name": b"archive/data.txt"}))
    yield "zip-two-methods.pt", archive(*torch_like(PAYLOAD, local={"method": 8}))
    yield "zip-prefix.pt", b"prefix" + archive(*torch_like(PAYLOAD))
    yield "zip-comment.pt", archive(*torch_like(PAYLOAD), comment=b"x" * 500)
    yield "zip-two-records.pt", archive(*torch_like(PLAIN), *torch_like(PAYLOAD))
    yield "zip-in-zip.zip", archive(Record(b"inner.zip", archive(*torch_like(PAYLOAD))))
    yield "zip-other-suffix.bin", archive(Record(b"model/weights.dat", PAYLOAD))
    yield "zip-as-config.json", archive(*torch_like(PAYLOAD))
    yield "zip-path-outside.pt", archive(*torch_like(PLAIN), Record(b"../../x.py", b"import os"))
    for suffix, pack in _PACKERS.items():
        yield f"packed.pkl.{suffix}", pack(PAYLOAD)
        yield f"packed-{suffix}.joblib", pack(PAYLOAD)
    yield "tar.tar", _tar("model.pkl", PAYLOAD)
    yield "tar.tar.gz", gzip.compress(_tar("model.pkl", PAYLOAD))
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header = header.ljust(117) + b"\n"
    yield "array.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + PAYLOAD
    old = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    yield "legacy.pt", old + PAYLOAD + pickle.dumps([], 2)
    yield "legacy-first.pt", PAYLOAD + old


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "z": zlib.compress,
}


def _tar(member: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo(member)
        info.size = len(data)
        made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _bombs() -> Iterator[File]:
    yield "bomb-dup.pkl", b"\x80\x04]" + b"2\x86" * 200 + b"."
    yield "bomb-memo.pkl", b"\x80\x04]" + (b"q\x00(" + b"h\x00" * 9 + b"t") * 30 + b"."
    yield "bomb-index.pkl", b"\x80\x04Nr\xff\xff\xff\x7f."
    yield "bomb-depth.pkl", b"\x80\x04N" + b"\x85" * 60_000 + b"."
    yield "bomb-key.pkl", b"\x80\x04}N" + b"2\x86" * 40 + b"Ns."


def benign() -> Iterator[File]:
    """What the libraries write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from _of_torch()
        yield from _of_arrays()
    plain = {"a": [1, 2.5, None, True], "b": ("x", b"y", {3}), "c": OrderedDict(d=complex(1, 2))}
    for protocol in range(6):
        yield f"plain{protocol}.pkl", pickle.dumps(plain, protocol)
    for suffix, pack in _PACKERS.items():
        yield f"plain.pkl.{suffix}", pack(pickle.dumps(plain, 4))


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    save(out)
    return out.getvalue()


def _of_torch() -> Iterator[File]:
    import torch
    from safetensors.torch import save
    from torch import nn

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2))
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    adam.step()
    values = {
        "state": model.state_dict(),
        "module": model,
        "optimizer": adam.state_dict(),
        "checkpoint": {"model": model.state_dict(), "opt": adam.state_dict(), "epoch": 3},
        "rng": torch.get_rng_state(),
        "parameter": nn.Parameter(torch.ones(2)),
        "sparse": torch.eye(3).to_sparse(),
        "strided": torch.arange(12).reshape(3, 4).t(),
        "shared": [(base := torch.arange(9)), base[2:5]],
        "empty": {},
        "number": 5,
        "dtypes": {
            str(dtype): torch.zeros(2).to(dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
        },
        "transformer": nn.TransformerEncoderLayer(8, 2),
        "rnn": nn.LSTM(3, 4).state_dict(),
    }
    for label, value in values.items():
        yield f"{label}.pt", _saved(lambda out, value=value: torch.save(value, out))
        yield (
            f"{label}-legacy.pth",
            _saved(
                lambda out, value=value: torch.save(
                    value, out, _use_new_zipfile_serialization=False
                )
            ),
        )
    for protocol in (3, 4, 5):
        yield (
            f"state-protocol{protocol}.pt",
            _saved(
                lambda out, protocol=protocol: torch.save(
                    model.state_dict(), out, pickle_protocol=protocol
                )
            ),
        )
    yield "script.jit", _saved(lambda out: torch.jit.save(torch.jit.script(model), out))
    traced = torch.jit.trace(model.eval(), torch.ones(1, 4))
    yield "trace.jit", _saved(lambda out: torch.jit.save(traced, out))
    program = torch.export.export(model, (torch.ones(1, 4),))
    yield "exported.pt2", _saved(lambda out: torch.export.save(program, out))
    yield "state.safetensors", save(model.state_dict())


def _of_arrays() -> Iterator[File]:
    import joblib
    import numpy as np

    array = np.arange(12.0).reshape(3, 4)
    yield "array.npy", _saved(lambda out: np.save(out, array))
    yield "fortran.npy", _saved(lambda out: np.save(out, np.asfortranarray(array)))
    yield "record.npy", _saved(lambda out: np.save(out, np.zeros(2, "i4,f8")))
    yield "arrays.npz", _saved(lambda out: np.savez(out, a=array, b=array))
    yield "packed.npz", _saved(lambda out: np.savez_compressed(out, a=array))
    for protocol in range(6):
        yield f"array{protocol}.pkl", pickle.dumps({"w": array, "n": np.float64(2)}, protocol)
    for packer in (None, "zlib", "gzip", "bz2", "xz", "lzma"):
        level = (packer, 3) if packer else 0
        yield (
            f"array-{packer}.joblib",
            _saved(lambda out, level=level: joblib.dump({"w": array, "k": "text"}, out, level)),
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("notes.txt", "words")
    yield "notes.zip", out.getvalue()


def main() -> None:
    """Write all of them below a folder: one folder for each label."""
    for label, files in (("malicious", malicious()), ("benign", benign())):
        folder = Path(sys.argv[1], label)
        folder.mkdir(parents=True)
        for path, data in files:
            (folder / path).write_bytes(data)


if __name__ == "__main__" and len(sys.argv) > 1:
    main()

"""How fast a sealed model is beside a plain one, what memory it takes, what is read and written.

Claims: those of ``CLAIMS`` below for the speed, by wall time and by CPU time; a load takes at most
1.05 times the model and 64 MiB, sealing and opening a file of 2 GB at most 64 MiB; a sealed file is
at most 0.01 %, 160 bytes a tensor and 16 KiB larger, beside its recipients; one tensor of a
thousand comes over HTTP in three requests; 100 more recipients cost kilobytes and 50 ms, whatever
the size.

The plain load copies every tensor into memory of its own, as a model that is used must lie in. What
is compared runs in processes that have started already, in turn, in an order drawn anew for each
round; the first round fills the page cache and is thrown away. All may use all cores.

    python benchmarks/vault.py [--runs 20] [--peers VENV]

``VENV`` is a virtual environment with torch, cryptotensors and tensorizer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from measure import Sample, Worker, interval, turns, verdict

ROOT = Path(__file__).resolve().parent.parent
TENSORS, EACH = 16, 16 << 20
MIB = 1 << 20
RECIPIENTS, MOST_MS = 100, 50
# What, beside what, and the least speed as a share of it.
CLAIMS = (
    ("load, tags", "load, plain", 0.90),
    ("load, tags", "load, CryptoTensors", 1.15),
    ("load, full", "load, plain", 0.45),
    ("load, full, BLAKE3", "load, plain", 0.65),
    ("save", "save, plain", 0.60),
    ("save", "save, CryptoTensors", 1.3),
)

STATE = """
import os, sys, torch
folder, count, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
def state():
    bounds = (-2**31, 2**31 - 1, (each // 4,))
    return {f"l{n:02d}": torch.randint(*bounds, dtype=torch.int32) for n in range(count)}
def sync(path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)
"""
OURS = (
    STATE
    + """
from pathlib import Path
from safetensors.torch import load_file, save_file
from torchkeep import vault
from torchkeep.vault import keys
(key,) = keys.identity(folder + "/alice.key", None)
signer, held = keys.signer(folder + "/release.key", None), {}
def plain():
    return {name: one.clone() for name, one in load_file(folder + "/plain.safetensors").items()}
def load(file, level):
    with vault.open(folder + "/" + file, key, level=level) as sealed:
        return sealed.state_dict()
def kept():
    if not held:
        held.update(state())
    return held
def save():
    vault.save(kept(), folder + "/out.tks", [vault.PublicKey(key.public)], signers=[signer])
def save_plain():
    save_file(kept(), folder + "/out.safetensors")
    sync(folder + "/out.safetensors")
def seal():
    vault.seal(folder + "/big.bin", folder + "/big.tks", [vault.PublicKey(key.public)])
def unseal():
    with vault.open(folder + "/big.tks", key) as sealed:
        sealed.unseal(folder + "/big.out")
TASKS = {
    "load, plain": plain,
    "load, tags": lambda: load("model.tks", vault.Level.TAGS),
    "load, full": lambda: load("model.tks", vault.Level.FULL),
    "save": save,
    "save, plain": save_plain,
    "seal": seal,
    "open": unseal,
}
if os.path.exists(folder + "/blake3.tks"):
    TASKS["load, full, BLAKE3"] = lambda: load("blake3.tks", vault.Level.FULL)
"""
)
PEERS = (
    STATE
    + """
import base64, json, secrets
plain, TASKS = state(), {}
try:
    from cryptotensors.torch import load_file, save_file
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
except ImportError:
    pass
else:
    text = lambda data: base64.b64encode(data).decode()
    made = Ed25519PrivateKey.generate()
    enc = {"kty": "oct", "alg": "aes256gcm", "k": text(secrets.token_bytes(32)), "kid": "e"}
    pair = {"d": text(made.private_bytes_raw()), "x": text(made.public_key().public_bytes_raw())}
    sign = {"kty": "okp", "alg": "ed25519", "kid": "s", **pair}
    os.environ["CRYPTOTENSOR_KEYS"] = json.dumps({"keys": [enc, sign]})
    def save_crypto(path=folder + "/out.ct"):
        save_file(plain, path, config={"enc_key": enc, "sign_key": sign})
        sync(path)
    save_crypto(folder + "/model.ct")
    TASKS["load, CryptoTensors"] = lambda: load_file(folder + "/model.ct")
    TASKS["save, CryptoTensors"] = save_crypto
try:
    from tensorizer import DecryptionParams, EncryptionParams, TensorDeserializer, TensorSerializer
    secret = EncryptionParams.random()
except Exception:  # it asks for libsodium only when it is used
    pass
else:
    def save_tensorizer(path=folder + "/out.tz"):
        writer = TensorSerializer(path, encryption=secret)
        writer.write_state_dict(plain)
        writer.close()
        sync(path)
    def load_tensorizer():
        opener = DecryptionParams.from_key(secret.key)
        reader = TensorDeserializer(folder + "/model.tz", encryption=opener, device="cpu")
        found = dict(reader)
        reader.close()
        return found
    save_tensorizer(folder + "/model.tz")
    TASKS["load, tensorizer"] = load_tensorizer
    TASKS["save, tensorizer"] = save_tensorizer
"""
)
MAKE = (
    STATE
    + """
import json
from pathlib import Path
from safetensors.torch import save_file
from torchkeep import vault
from torchkeep.vault import keys
public = [vault.PublicKey(keys.new_identity(
    Path(folder + "/alice.key"), passphrase=None, post_quantum=False))]
keys.new_signer(Path(folder + "/release.key"), passphrase=None)
signer = keys.signer(folder + "/release.key", None)
save_file(state(), folder + "/plain.safetensors")
vault.seal(folder + "/plain.safetensors", folder + "/model.tks", public, signers=[signer])
def sparse(path, tensors, size):
    entries = {f"t{n:04d}": {"dtype": "U8", "shape": [size],
               "data_offsets": [n * size, n * size + size]} for n in range(tensors)}
    header = json.dumps(entries).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + tensors * size)
for name, tensors in (("1 MB", 1), ("1 GB", 1000)):
    sparse(folder + "/sparse.safetensors", tensors, 1 << 20)
    vault.seal(folder + "/sparse.safetensors", folder + f"/{name}.tks", public, signers=[signer])
with open(folder + "/big.bin", "wb") as file:
    file.truncate(2 * 10**9)
if sys.argv[4] == "blake3":
    vault.seal(folder + "/plain.safetensors", folder + "/blake3.tks", public,
               signers=[signer], suite_id=3)
TASKS = {}
"""
)


def ratio(samples: dict[str, list[Sample]], name: str, other: str, part: str) -> tuple[float, ...]:
    """Speed of one as a share of that of another, over pairs of the same round."""
    pairs = zip(samples[name], samples[other], strict=True)
    return interval([getattr(theirs, part) / getattr(ours, part) for ours, theirs in pairs])


def shown(found: tuple[float, ...], digits: int = 2) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in found)
    return f"{middle} ({low}-{high})"


def speeds(samples: dict[str, list[Sample]]) -> dict[str, object]:
    out: dict[str, object] = {}
    print(f"{'':22} {'wall ms (95 % interval)':>24} {'CPU ms':>24} {'beyond MB':>9}  ", end="")
    print("speed / plain: wall, CPU")
    for name in sorted(samples):
        found, plain = samples[name], f"{name.split(',')[0]}, plain"
        wall, cpu = (interval([getattr(one, part) for one in found]) for part in ("wall", "cpu"))
        peak = max(one.peak for one in found)
        beside = [ratio(samples, name, plain, part) for part in ("wall", "cpu")]
        print(f"{name:22} {shown(wall, 0):>24} {shown(cpu, 0):>24} {peak:9.0f}  ", end="")
        print(*map(shown, beside), sep=", ")
        out[name] = {"wall_ms": wall, "cpu_ms": cpu, "peak_mb": peak, "ratio": beside}
    return out


def compare(samples: dict[str, list[Sample]]) -> dict[str, bool]:
    """Whether the whole interval holds; what is absent claims nothing."""
    held = {}
    for name, other, least in CLAIMS:
        if name not in samples or other not in samples:
            print(f"absent: {name} beside {other}")
            continue
        for part in ("wall", "cpu"):
            found = ratio(samples, name, other, part)
            held[f"{name}: >= {least} x {other}, {part}"] = found[1] >= least
            print(f"{name} / {other}, {part}: {shown(found)}")
    return held


def speed(folder: str, peers: Path | None, runs: int) -> tuple[dict[str, object], dict[str, bool]]:
    given = (folder, str(TENSORS), str(EACH))
    ours = Worker(sys.executable, OURS, *given)
    workers = {name: ours for name in ours.names if "," in name or name == "save"}
    theirs = None
    if peers is not None:
        theirs = Worker(str(peers / "bin" / "python"), PEERS, *given)
        workers |= dict.fromkeys(theirs.names, theirs)
    with ours, theirs or nullcontext():
        samples = turns(workers, runs)
    return speeds(samples), compare(samples)


def memory(folder: str) -> tuple[dict[str, float], dict[str, bool]]:
    """What each holds beyond the process before, in a process of its own, in bytes."""
    found: dict[str, float] = {}
    held = {}
    for name in ("load, tags", "load, full", "seal", "open"):
        with Worker(sys.executable, OURS, folder, str(TENSORS), str(EACH)) as worker:
            sample = worker.run(name)
        size, most = sample.peak * 1e6, 64 * MIB
        if name.startswith("load"):
            most += 1.05 * TENSORS * EACH
        print(f"memory, {name}: {size / MIB:.1f} MiB of {most / MIB:.1f}, {sample.wall:.0f} ms")
        found[name], held[f"{name}: memory"] = size, size <= most
    return found, held


def overhead(folder: str) -> tuple[dict[str, float], dict[str, bool]]:
    plain = Path(folder, "plain.safetensors").stat().st_size
    more = Path(folder, "model.tks").stat().st_size - plain
    # One recipient, of 160 bytes.
    most = plain / 10_000 + 160 * TENSORS + 16 * 1024 + 160
    print(f"size: {more:,} bytes more than {plain:,}, of {most:,.0f}")
    return {"more": more, "most": most}, {"size": more <= most}


def fetched(folder: str) -> tuple[dict[str, object], dict[str, bool]]:
    """One tensor of a thousand, from a file that lies on a web server."""
    sys.path.insert(0, str(ROOT / "tests"))
    from doubles.http import FileServer
    from doubles.sparse import Body

    from torchkeep import vault
    from torchkeep.vault import keys

    os.environ["NO_PROXY"] = "*"
    (key,) = keys.identity(f"{folder}/alice.key", None)
    out: dict[str, object] = {}
    held = {}
    for level in (vault.Level.TAGS, vault.Level.FULL):
        body = Body(Path(folder, "1 GB.tks"))
        with FileServer(body) as server:
            with vault.open(server.url, key, level=level) as sealed:
                opened = len(server.requests)
                sealed.get_tensor("t0500")
                index, chunk = sealed.frame.manifest.index, sealed.frame.chunk
            requests = len(server.requests)
        body.close()
        most = MIB + 2 * chunk + index
        print(
            f"over HTTP, {level}: {body.served:,} bytes of {most:,}, {requests} requests,", end=""
        )
        print(f" {opened} of them to open; the index has {index:,} bytes")
        out[level] = {"bytes": body.served, "most": most, "requests": requests, "opening": opened}
        held[f"one tensor, {level}: bytes"] = body.served <= most
        held[f"one tensor, {level}: <= 3 requests"] = requests <= 3
    return out, held


def rewraps(folder: str, runs: int) -> tuple[dict[str, object], dict[str, bool]]:
    """A key block for 100 recipients, behind a small file and a large one."""
    from torchkeep import vault
    from torchkeep.vault import keys

    (key,) = keys.identity(f"{folder}/alice.key", None)
    out: dict[str, object] = {}
    held = {}
    for kind, strong, each in (("X25519", False, 160), ("X-Wing", True, 1331)):
        made = [vault.SecretKey.generate(post_quantum=strong)[0] for _ in range(RECIPIENTS)]
        recipients = [vault.PublicKey(one.public) for one in made]
        for name in ("1 MB", "1 GB"):
            path, times, written = Path(folder, f"{name}.tks"), [], 0
            size = path.stat().st_size
            for _ in range(runs + 1):
                start = time.perf_counter()
                written = vault.rewrap(path, key, recipients)
                times.append((time.perf_counter() - start) * 1000)
                os.truncate(path, size)
            wall, most = interval(times[1:]), each * RECIPIENTS + 8192
            print(f"rewrap, {kind}, {name}: {written:,} bytes of {most:,}, {shown(wall, 1)} ms")
            out[f"{kind}, {name}"] = {"bytes": written, "most": most, "wall_ms": wall}
            held[f"rewrap, {kind}, {name}: bytes"] = written <= most
            held[f"rewrap, {kind}, {name}: <= {MOST_MS} ms"] = wall[2] <= MOST_MS
    return out, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="rounds that count")
    parser.add_argument("--peers", type=Path, help="virtual environment with the peers")
    parser.add_argument("--folder", type=Path, help="where to work: on the disk to measure")
    given = parser.parse_args()
    if given.peers is not None and not (given.peers / "bin" / "python").exists():
        parser.error(f"{given.peers} is no virtual environment")
    before = os.getloadavg()[0]
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} CPUs, {given.runs} runs,", end=" ")
    print(f"{TENSORS} tensors of {EACH // MIB} MiB")
    result: dict[str, object] = {}
    claims: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        blake3 = "blake3" if importlib.util.find_spec("blake3") else "without"
        with Worker(sys.executable, MAKE, folder, str(TENSORS), str(EACH), blake3):
            pass
        parts = {
            "size": overhead(folder),
            "http": fetched(folder),
            "rewrap": rewraps(folder, given.runs),
            "memory": memory(folder),
            "speed": speed(folder, given.peers, given.runs),
        }
    for name, (measured, held) in parts.items():
        result[name] = measured
        claims |= held
    for claim, holds in claims.items():
        print(f"claim: {claim}: {verdict(holds)}")
    load = (before, os.getloadavg()[0])
    print(f"load of the machine: {load[0]:.1f} before, {load[1]:.1f} after")
    summary = {"benchmark": "vault", "runs": given.runs, "load": load, "claims": claims, **result}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

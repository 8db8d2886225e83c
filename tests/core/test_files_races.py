"""``core.files``: many processes at once, and kills."""

import random
import subprocess
import sys
import time

from core.disk import names

from torchkeep.core import files

# Many processes, and kills.

WRITER = """
import sys
from torchkeep.core import files
path, letter, times = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
for turn in range(times):
    files.write(path, letter * (100_000 + turn % 7))
    if turn == 0:
        print("ready", flush=True)
"""


def writer(path, letter, times):
    command = [sys.executable, "-c", WRITER, str(path), letter, str(times)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


def assert_whole(data):
    assert 100_000 <= len(data) < 100_007
    assert data == data[:1] * len(data)


def test_writers_at_once_never_tear_a_file(tmp_path):
    processes = [writer(tmp_path / "file", letter, 40) for letter in "abc"]
    while any(process.poll() is None for process in processes):
        assert_whole(files.read(tmp_path / "file"))
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert names(tmp_path) == ["file"]
    for process in processes:
        process.stdout.close()


def test_a_kill_leaves_a_whole_file(tmp_path):
    chance = random.Random(7)
    for letter in "abcdefgh":
        with writer(tmp_path / "file", letter, 1_000_000) as process:
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
        assert_whole(files.read(tmp_path / "file"))
        assert all(name == "file" or name.startswith(".torchkeep-") for name in names(tmp_path))

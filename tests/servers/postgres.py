"""A PostgreSQL server of the tests' own: started in a temporary folder, removed at the end."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import psycopg
except ImportError:
    psycopg = None

# Nothing here outlives the tests, so nothing needs to reach the disk.
_SETTINGS = """
fsync = off
full_page_writes = off
max_connections = 60
shared_buffers = 16MB
listen_addresses = '127.0.0.1'
"""
_CLUSTER = (
    "--username=keeper",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
)

# Stands between the tests and the server: when its input ends, because the tests were killed, it
# stops the server and removes what is left of it.
_GUARD = """
folder=$1
shift
"$@" &
read -r word
kill -INT $!
wait $!
[ "$word" = stop ] || rm -rf "$folder"
"""


class Server:
    """One running server.

    Attributes:
        port: Its port on 127.0.0.1, and in the name of its Unix socket in ``folder``.
        folder: Where everything of it lies.
        password: Of its superuser ``keeper``.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.password = secrets.token_hex(12)
        self.port = _free_port()
        self._programs = programs
        self._guard: subprocess.Popen[bytes] | None = None
        self._initialise()

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, password included."""
        return f"postgresql://keeper:{self.password}@127.0.0.1:{self.port}/{database}"

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the superuser's, for what torchkeep itself does not do."""
        return psycopg.connect(self.url(database), autocommit=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        server = [self._programs / "postgres", "-D", self.folder / "data", f"-p{self.port}"]
        with open(self.folder / "log", "ab") as log:
            self._guard = subprocess.Popen(
                ["sh", "-c", _GUARD, "guard", self.folder, *server, f"-k{self.folder}"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it in order
                **_someone(),
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Stop it, breaking every connection."""
        if self._guard is None:
            return
        try:
            self._guard.communicate(b"stop\n", timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.communicate()
        self._guard = None

    def _initialise(self) -> None:
        user = _someone().get("user")
        secret = self.folder / "password"
        secret.write_text(self.password)
        if user is not None:
            shutil.chown(self.folder, user)
            shutil.chown(secret, user)
        subprocess.run(
            [self._programs / "initdb", self.folder / "data", f"--pwfile={secret}", *_CLUSTER],
            check=True,
            stdout=subprocess.DEVNULL,
            **_someone(),
        )
        with open(self.folder / "data" / "postgresql.conf", "a") as settings:
            settings.write(_SETTINGS)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.admin().close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    pytest.fail((self.folder / "log").read_text("utf-8", "replace"))
                time.sleep(0.02)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server that runs for the session; each worker of pytest-xdist has its own."""
    if psycopg is None:
        pytest.skip("psycopg is not installed: pip install 'torchkeep[postgres]'")
    folder = Path(tempfile.mkdtemp(prefix="tk-pg-"))  # short: a socket's path has 107 bytes at most
    try:
        server = Server(_programs(), folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    """The URL of a new, empty database, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    with postgres.admin() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url(name)
    with postgres.admin() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _programs() -> Path:
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        candidates.insert(0, Path(found).resolve().parent)
    if shutil.which("pg_config"):
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        candidates.append(Path(said.stdout.strip()))
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server here: apt install postgresql, or brew install postgresql")


def _someone() -> dict[str, object]:
    """Whom the server runs as: it refuses to be root."""
    if os.getuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is neither a postgres nor a nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

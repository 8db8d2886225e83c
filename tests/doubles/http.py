"""A web server on the loopback interface that serves one file, with faults to order.

What it does with a request is a function of the handler, so a test says ``server.does(drop,
ranges)``: drop the connection once, then serve.
"""

from __future__ import annotations

import datetime
import ipaddress
import random
import re
import ssl
import threading
from collections.abc import Callable, Iterable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PATH = "/folder/model.bin"

DATA = random.Random(0).randbytes(50_000)
"""What the server of the tests has, and a part of it that they read."""
SLICE = (30_000, 5_000)
EXPECTED = DATA[30_000:35_000]


class Seen(NamedTuple):
    """One request, as the server saw it."""

    target: str
    headers: Message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.requests.append(Seen(self.path, self.headers))
        self.server.next_behaviour()(self)

    def do_CONNECT(self) -> None:
        """A proxy's tunnel: it ends in this same server, over TLS."""
        self.server.requests.append(Seen(self.path, self.headers))
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with self.server.tls.wrap_socket(self.connection, server_side=True) as inside:
            type(self)(inside, self.client_address, self.server)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """``Content_Range`` names the header Content-Range; its length is added where missing."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def asked(self) -> tuple[int, int]:
        """The range that is asked for, as a slice that ends with the file."""
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        return first, min(last + 1, len(self.server.body))

    def part(self, body: bytes | None = None, **headers: str) -> None:
        """A right answer, but for what is given."""
        first, end = self.asked()
        piece = self.server.body[first:end] if body is None else body
        stated = {
            "Content_Range": f"bytes {first}-{end - 1}/{len(self.server.body)}",
            "ETag": self.server.etag,
            "Last_Modified": self.server.modified,
        }
        self.answer(206, piece, **{**stated, **headers})

    def log_message(self, *_: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


def ranges(handler: Handler) -> None:
    """Serve ranges, as a server should."""
    server = handler.server
    if handler.headers.get("If-Match", server.etag) != server.etag:
        handler.answer(412)
    elif handler.asked()[0] >= len(server.body):
        handler.answer(416, Content_Range=f"bytes */{len(server.body)}", ETag=server.etag)
    else:
        handler.part()


def heedless(handler: Handler) -> None:
    """Serve ranges of whatever the file is now, and do not look at If-Match."""
    handler.part()


def whole(handler: Handler) -> None:
    handler.answer(200, handler.server.body)


def drop(handler: Handler) -> None:
    handler.close_connection = True


def short(handler: Handler) -> None:
    """Promise a body, send half of it and hang up."""
    first, end = handler.asked()
    half = handler.server.body[first : first + (end - first) // 2]
    handler.part(half, Content_Length=str(end - first))
    handler.close_connection = True


def chunked(handler: Handler, extra: bytes = b"") -> None:
    """Send the right bytes, and ``extra`` ones, without a Content-Length."""
    first, end = handler.asked()
    piece = handler.server.body[first:end] + extra
    handler.part(
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece),
        Content_Length="",
        Transfer_Encoding="chunked",
    )


def too_long(handler: Handler) -> None:
    chunked(handler, b"more")


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


def silent(handler: Handler) -> None:
    """Say nothing until the test is over."""
    handler.server.over.wait(10)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Send a byte now and then, so that no single wait is long."""
    for byte in b"HTTP/1.1 206 OK\r\n" + b"x" * 1000:
        if handler.server.over.wait(0.05):
            break
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            break
    handler.close_connection = True


def status(code: int, **headers: str) -> Behaviour:
    return lambda handler: handler.answer(code, **headers)


def redirect(location: str, code: int = 302) -> Behaviour:
    return status(code, Location=location)


def stated(**headers: str) -> Behaviour:
    """The right bytes under these headers; an empty one is left out."""
    return lambda handler: handler.part(**headers)


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.etag = '"one"'
        self.modified = "Mon, 23 Nov 2026 08:00:00 GMT"
        self.requests: list[Seen] = []
        self.connections = 0
        self.over = threading.Event()
        self.behaviours: list[Behaviour] = [ranges]

    def next_behaviour(self) -> Behaviour:
        """Each in its turn; the last one stays."""
        return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what many of these tests are about."""


class FileServer:
    """The server, running inside a ``with`` block.

    Args:
        body: The file.
        pem: Key and certificate; with them it speaks TLS.
        tunnel: Use them inside CONNECT tunnels only, as a proxy does.
    """

    def __init__(self, body: bytes, *, pem: Path | None = None, tunnel: bool = False) -> None:
        self.listener = Listener(body)
        self.scheme = "https" if pem and not tunnel else "http"
        if pem:
            self.listener.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.listener.tls.load_cert_chain(pem)
            if not tunnel:
                self.listener.socket = self.listener.tls.wrap_socket(
                    self.listener.socket, server_side=True
                )

    def __enter__(self) -> FileServer:
        # The default looks for a shutdown twice a second, which every test would wait for.
        self._thread = threading.Thread(target=self.listener.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.over.set()
        self.listener.shutdown()
        self.listener.server_close()
        self._thread.join()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.listener.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{PATH}"

    @property
    def requests(self) -> list[Seen]:
        return self.listener.requests

    @property
    def connections(self) -> int:
        return self.listener.connections

    def does(self, *behaviours: Behaviour) -> None:
        self.listener.behaviours = list(behaviours)

    def becomes(self, body: bytes, etag: str = '"two"') -> None:
        """Put another file in the place of the old one."""
        self.listener.body = body
        self.listener.etag = etag


def certificate(path: Path, names: Iterable[str] = ("localhost", "files.example")) -> Path:
    """Write a fresh key and its own certificate, for ``names`` and 127.0.0.1, into ``path``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "torchkeep test")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.DNSName(host) for host in names]
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([*hosts, address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path

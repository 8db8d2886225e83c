"""A proxy before a web server that hands requests on, and breaks those that a test names."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Asked:
    """A request on its way."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


class Reset(Exception):
    """The connection ends here, without a word."""


Ask = Callable[[Asked], Answer]
Fault = Callable[[Asked, Ask], Answer]


def none(asked: Asked, ask: Ask) -> Answer:
    return ask(asked)


def reset(_asked: Asked, _ask: Ask) -> Answer:
    """The request never arrives."""
    raise Reset


def lost(asked: Asked, ask: Ask) -> Answer:
    """The request is done, and its answer is lost."""
    ask(asked)
    raise Reset


def status(code: int) -> Fault:
    """The server refuses to work."""
    body = b"<Error><Code>InternalError</Code></Error>"
    return lambda _asked, _ask: Answer(code, [("Content-Type", "application/xml")], body)


def short(asked: Asked, ask: Ask) -> Answer:
    """Half of the body arrives."""
    answer = ask(asked)
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def swapped(asked: Asked, ask: Ask) -> Answer:
    """Half of the body, as if it were all."""
    answer = ask(asked)
    headers = [one for one in answer.headers if one[0].lower() != "content-length"]
    half = answer.body[: len(answer.body) // 2]
    return replace(answer, headers=[*headers, ("Content-Length", str(len(half)))], body=half)


def flipped(asked: Asked, ask: Ask) -> Answer:
    """One bit of the body is another one."""
    answer = ask(asked)
    return replace(answer, body=_flip(answer.body))


def flipped_up(asked: Asked, ask: Ask) -> Answer:
    """One bit of what is sent is another one."""
    return ask(replace(asked, body=_flip(asked.body)))


def _flip(body: bytes) -> bytes:
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else body


class Proxy:
    """The proxy, running inside a ``with`` block.

    Attributes:
        seen: Method and target of each request.
    """

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self._faults: list[tuple[Callable[[Asked], bool], Fault, int]] = []
        self._lock = threading.Lock()
        self.seen: list[tuple[str, str]] = []
        self._server = _Listener(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def does(
        self,
        fault: Fault = none,
        when: Callable[[Asked], bool] = lambda _: True,
        times: int = 1_000_000,
    ) -> None:
        """Break the next requests for which ``when`` holds; without arguments, none."""
        with self._lock:
            self._faults = [(when, fault, times)]
            self.seen.clear()

    def handle(self, asked: Asked) -> Answer:
        with self._lock:
            self.seen.append((asked.method, asked.target))
            when, fault, times = self._faults[0]
            if broken := times > 0 and when(asked):
                self._faults = [(when, fault, times - 1)]
        return fault(asked, self._ask) if broken else self._ask(asked)

    def __enter__(self) -> Proxy:
        self.does()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _ask(self, asked: Asked) -> Answer:
        connection = http.client.HTTPConnection(*self._there)
        try:
            connection.request(asked.method, asked.target, asked.body, asked.headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what many of these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def _handle(self) -> None:
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k: v for k, v in self.headers.items() if k not in ("Connection", "Expect")}
        try:
            answer = self.server.proxy.handle(Asked(self.command, self.path, headers, body))
        except Reset:
            # A reset, not an end: nobody may take what came so far for an answer.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            return
        self._answer(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = True

    def handle_expect_100(self) -> bool:
        return True

    def log_message(self, *_: object) -> None:
        pass

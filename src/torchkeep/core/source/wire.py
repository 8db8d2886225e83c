"""GET requests over connections that stay open."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.request import getproxies, proxy_bypass

from torchkeep.core.source.address import Address, parse

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PARTIAL: Final = 206

_SLOWEST: Final = 16 * 1024  # bytes a second, below which a server counts as dead

# What a server that has closed an idle connection looks like from here.
_STALE: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Attributes:
        status: Status of the answer.
        headers: Its headers.
        body: Its body where the status is 206, of which one byte more than asked for is read so
            that too long a body shows; else empty.
    """

    status: int
    headers: Message
    body: bytes


class Wire:
    """Sends requests, from several threads at once, each over a connection of its own.

    Proxies are those of the environment, certificates are verified with the system's store.

    Args:
        timeout: Seconds that a server may be silent.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False

    def get(self, address: Address, headers: Mapping[str, str], limit: int) -> Answer:
        """Send one GET and read at most ``limit`` bytes of what comes (and one to see it is more).

        Raises:
            OSError: The server was not reached, or the connection broke.
            http.client.HTTPException: The answer is not HTTP.
        """
        proxy = _proxy_for(address)
        target = address.target
        headers = dict(headers)
        if address.authorization:
            headers["Authorization"] = address.authorization
        if proxy and address.scheme == "http":
            target = address.url
            headers |= _proxy_headers(proxy)
        if kept := self._take(address):
            try:
                return self._exchange(kept, address, target, headers, limit)
            except _STALE:
                pass  # closed while it was idle: no fault of the server
        return self._exchange(self._connect(address, proxy), address, target, headers, limit)

    def close(self) -> None:
        """Close all connections; one that is in use is closed when its answer has come."""
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        address: Address,
        target: str,
        headers: Mapping[str, str],
        limit: int,
    ) -> Answer:
        keep = False
        try:
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout)
            deadline = time.monotonic() + self._timeout + limit / _SLOWEST
            connection.response_class = cast(  # a class or what makes one: it is only called
                "type[http.client.HTTPResponse]",
                functools.partial(_Response, deadline=deadline, timeout=self._timeout),
            )
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as response:
                # Of any other answer only the head matters. Its body may be the whole file.
                body = response.read(limit + 1) if response.status == PARTIAL else b""
                keep = response.isclosed() and not response.will_close
            return Answer(response.status, response.headers, body)
        finally:
            self._release(connection, address, keep)

    def _connect(self, address: Address, proxy: Address | None) -> http.client.HTTPConnection:
        via = proxy or address
        if address.scheme == "http":
            return http.client.HTTPConnection(via.host, via.port, timeout=self._timeout)
        connection = http.client.HTTPSConnection(
            via.host, via.port, timeout=self._timeout, context=self._tls
        )
        if proxy:
            connection.set_tunnel(address.host, address.port, headers=_proxy_headers(proxy))
        return connection

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _take(self, address: Address) -> http.client.HTTPConnection | None:
        with self._lock:
            kept = self._idle[address.origin]
            return kept.pop() if kept else None

    def _release(
        self, connection: http.client.HTTPConnection, address: Address, keep: bool
    ) -> None:
        with self._lock:
            if keep and not self._closed:
                self._idle[address.origin].append(connection)
                return
        connection.close()


class _Response(http.client.HTTPResponse):
    """An answer that must be complete at some time.

    The time-out of a socket starts anew with every byte, so that a server that sends one now and
    then would hold its reader for ever.
    """

    def __init__(
        self, sock: socket.socket, *args: Any, deadline: float, timeout: float, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, deadline, timeout))


class _Timed(io.RawIOBase):
    """What a socket receives until a deadline, with ``timeout`` for each piece."""

    def __init__(
        self, raw: io.RawIOBase, sock: socket.socket, deadline: float, timeout: float
    ) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        self._timeout = timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left, self._timeout))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _proxy_for(address: Address) -> Address | None:
    value = getproxies().get(address.scheme)
    if not value or proxy_bypass(f"{address.host}:{address.port}"):
        return None
    try:
        proxy = parse(value if "://" in value else f"http://{value}")
    except ValueError as error:
        raise OSError(f"{address.scheme}_proxy is no http:// URL: {error}") from None
    if proxy.scheme != "http":
        raise OSError(f"{address.scheme}_proxy is no http:// URL")
    return proxy


def _proxy_headers(proxy: Address) -> dict[str, str]:
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}

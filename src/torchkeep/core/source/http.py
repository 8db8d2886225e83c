"""Files on web servers."""

from __future__ import annotations

import http.client
import re
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final

from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.source.address import Address, follow, parse
from torchkeep.core.source.base import FIRST, Source
from torchkeep.core.source.wire import PARTIAL, Answer, Wire
from torchkeep.core.text import visible

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOPS: Final = 5
# A redirect often leads to a URL that is signed for an hour: these may mean that it is over.
_EXPIRED: Final = frozenset({401, 403, 404, 410})
_LONGEST_WAIT: Final = 60.0  # seconds
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_REFUSALS: Final = {
    401: ("asks for a user name and a password", "write https://USER:PASSWORD@HOST/PATH"),
    403: ("refuses to hand it out", "check the password, or whether a signed URL has expired"),
    404: ("has no such file", "check the URL"),
    407: ("is behind a proxy that asks for a password", "write it into the proxy's URL"),
    410: ("has no such file any more", "check the URL"),
}
_BROKEN: Final = (
    ConnectionError,
    http.client.IncompleteRead,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)


class HttpSource(Source):
    """A file on a web server that serves ranges.

    One request opens it and brings its first bytes; each read behind those is one more, over a
    connection that stays open. Faults that pass (a broken connection, a short body, 408, 429, 5xx)
    are met by asking again. A redirect is followed at most five times, never out of https, and its
    end is remembered.

    Args:
        url: ``http://`` or ``https://``; user name and password in it are sent to this server
            only, and neither they nor the query are ever shown.
        timeout: Seconds that the server may be silent.
        attempts: How often one request is tried.
        backoff: Seconds before the second attempt; doubled for each one after it. A server that
            says how long to wait is obeyed up to a minute.

    Raises:
        SourceError: The server cannot be reached, has no such file, or serves no ranges.
        UsageError: The URL is malformed.
    """

    def __init__(
        self, url: str, *, timeout: float = 30.0, attempts: int = 4, backoff: float = 0.5
    ) -> None:
        try:
            self._start = self._at = parse(url)
        except ValueError as error:
            raise UsageError(f"the URL cannot be used: {error}", next="check the URL") from None
        super().__init__(self._start.name)
        self._attempts = attempts
        self._backoff = backoff
        self._condition: dict[str, str] = {}
        self._wire = Wire(timeout)
        try:
            self._open()
        except BaseException:
            self._wire.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._wire.close()

    def _open(self) -> None:
        answer = self._get(0, FIRST)
        self.size = 0 if _is_empty(answer) else self._checked(answer, 0, FIRST)
        self._head = answer.body
        self._validators = etag, modified = _validators(answer)
        self.version = etag or modified
        if etag and not etag.startswith("W/"):  # If-Match compares strongly
            self._condition = {"If-Match": etag}

    def _read(self, offset: int, length: int) -> bytes:
        answer = self._get(offset, length)
        # Not every server heeds If-Match, so what the bytes belong to is compared here too.
        if answer.status in (412, 416) or (
            (self._checked(answer, offset, length), _validators(answer))
            != (self.size, self._validators)
        ):
            raise self._changed()
        return answer.body

    def _get(self, offset: int, length: int) -> Answer:
        answer = self._follow(self._at, offset, length)
        if answer.status in _EXPIRED and self._at != self._start:
            answer = self._follow(self._start, offset, length)
        return answer

    def _follow(self, address: Address, offset: int, length: int) -> Answer:
        for _ in range(_HOPS + 1):
            answer = self._ask(address, offset, length)
            if answer.status == PARTIAL:
                self._at = address
            if answer.status not in _REDIRECTS:
                return answer
            try:
                address = follow(address, answer.headers.get("Location", ""))
            except ValueError as error:
                raise self._wrong(f"redirects where torchkeep does not go: {error}") from None
        raise self._wrong(f"redirects more than {_HOPS} times")

    def _ask(self, address: Address, offset: int, length: int) -> Answer:
        """Send a request, again after a fault that may pass."""
        for attempt in range(1, self._attempts + 1):
            wait = self._backoff * 2 ** (attempt - 1)
            try:
                answer = self._once(address, offset, length)
            except (OSError, http.client.HTTPException) as error:
                fault = _fault(error)
                if not fault:
                    raise self._unreachable(error) from error
            else:
                fault = _fault_of(answer, length)
                if not fault:
                    return answer
                wait = max(wait, _retry_after(answer))
            if wait > _LONGEST_WAIT:
                break
            if attempt < self._attempts:
                time.sleep(wait)
        raise SourceError(
            f"{self.name} could not be read: the server {fault} (attempt {attempt})",
            next=f"try again {f'in {wait:.0f} seconds' if wait > _LONGEST_WAIT else 'later'}",
        )

    def _once(self, address: Address, offset: int, length: int) -> Answer:
        headers = {
            "User-Agent": "torchkeep",
            "Accept-Encoding": "identity",
            "Range": f"bytes={offset}-{offset + length - 1}",
            **self._condition,
        }
        received = 0
        try:
            answer = self._wire.get(address, headers, length)
            received = len(answer.body)
            return answer
        finally:
            self._count(received)

    def _checked(self, answer: Answer, offset: int, length: int) -> int:
        """The size of the file, after a look at whether the answer has what was asked for."""
        if answer.status == 200:
            raise SourceError(
                f"{self.name}: the server sends whole files only, expected one that serves ranges",
                next="download the file and read it from disk",
            )
        if answer.status != PARTIAL:
            what, hint = _REFUSALS.get(answer.status, ("does not serve it", "check the URL"))
            raise SourceError(f"{self.name}: the server {what} ({answer.status})", next=hint)
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise self._wrong("sends it compressed, against what was asked")
        found = _content_range(answer)
        if found is None:
            raise self._wrong("does not say which bytes of how many it sends")
        first, last, size = found
        if first != offset or last != min(offset + length, size) - 1:
            raise self._wrong("sends other bytes than were asked for")
        if len(answer.body) != last - first + 1:
            raise self._wrong("sends more bytes than it says")
        return size

    def _unreachable(self, error: Exception) -> SourceError:
        return SourceError(
            f"{self.name} cannot be reached: {_reason(error)}",
            next="check the URL, the network and the proxy",
        )

    def _wrong(self, what: str) -> SourceError:
        return SourceError(
            f"{self.name}: the server {what}", next="download the file and read it from disk"
        )


def _is_empty(answer: Answer) -> bool:
    """Whether the file has no bytes, of which no range can be asked for."""
    if answer.status == 416:
        return answer.headers.get("Content-Range", "") == "bytes */0"
    return answer.status == 200 and answer.headers.get("Content-Length") == "0"


def _content_range(answer: Answer) -> tuple[int, int, int] | None:
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _validators(answer: Answer) -> tuple[str, str]:
    return answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")


def _fault(error: Exception) -> str:
    """What broke, where asking again may help; else empty."""
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, _BROKEN) and not isinstance(error, ConnectionRefusedError):
        return "broke the connection"
    return ""


def _fault_of(answer: Answer, length: int) -> str:
    """What is wrong with an answer, where asking again may help; else empty."""
    if answer.status in (408, 429) or answer.status >= 500:
        return f"answered {answer.status}"
    found = _content_range(answer) if answer.status == PARTIAL else None
    if found and len(answer.body) < (promised := min(found[1] - found[0] + 1, length)):
        return f"stopped after {len(answer.body)} of {promised} bytes"
    return ""


def _retry_after(answer: Answer) -> float:
    """Seconds that the server asks to wait; 0 where it asks for nothing that can be read."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({visible(error.verify_message)})"
    if isinstance(error, OSError):
        return visible(error.strerror or str(error))
    return "what answers there does not speak HTTP"

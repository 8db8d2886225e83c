"""Where a web server keeps a file, and what of it may be shown."""

from __future__ import annotations

import base64
import string
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from torchkeep.core.text import visible

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """An ``http`` or ``https`` URL, taken apart.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Name or IP address of the server.
        port: Its port.
        path: The path, percent-encoded.
        query: What follows the path. A signed URL has its secret there.
        authorization: Value of the header that carries user name and password; empty without.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = field(repr=False)
    authorization: str = field(repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        """The server: who may see a password that was meant for it."""
        return self.scheme, self.host, self.port

    @property
    def name(self) -> str:
        """The URL without user, password and query: safe to show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return visible(f"{self.scheme}://{host}{port}{self.path}")

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return self.path + self.query

    @property
    def url(self) -> str:
        """The URL without user and password, for a proxy and to resolve redirects against."""
        return self.name + self.query


def parse(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: It is none of http and https, or malformed. The text tells no secret.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except ValueError:  # its text quotes the URL
        raise ValueError("it is malformed") from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"{visible(parts.scheme)}: is neither http nor https")
    if not host or not host.isprintable() or " " in host:
        raise ValueError("it names no server")
    return Address(
        scheme=parts.scheme,
        host=host,
        port=_PORTS[parts.scheme] if port is None else port,
        path=quote(parts.path, safe=string.punctuation) or "/",
        query=f"?{quote(parts.query, safe=string.punctuation)}" if parts.query else "",
        authorization=_authorization(parts.username, parts.password),
    )


def follow(at: Address, location: str) -> Address:
    """Where a redirect leads.

    A password goes with it only to the same server.

    Args:
        at: Address of the answer.
        location: Its ``Location`` header, as :mod:`http.client` decodes it.

    Raises:
        ValueError: It leads where no redirect of a web server should lead: out of the web, or
            from https to http.
    """
    if not location:
        raise ValueError("it leads nowhere")
    encoded = quote(location, safe=string.punctuation, encoding="latin-1")
    try:
        url = urljoin(at.url, encoded)
    except ValueError:
        raise ValueError("it is malformed") from None
    address = parse(url)
    if at.scheme == "https" and address.scheme != "https":
        raise ValueError("it leads from https to http")
    if address.origin == at.origin and not address.authorization:
        return replace(address, authorization=at.authorization)
    return address


def _authorization(username: str | None, password: str | None) -> str:
    if not username and not password:
        return ""
    pair = unquote_to_bytes(username or "") + b":" + unquote_to_bytes(password or "")
    return f"Basic {base64.b64encode(pair).decode('ascii')}"

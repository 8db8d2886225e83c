"""Objects of any size, sent in parts and seen when they are complete."""

from __future__ import annotations

import io
import secrets
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final, Protocol, cast

import obstore
from obstore.exceptions import AlreadyExistsError

from torchkeep.core.errors import Internal, TorchkeepError
from torchkeep.core.sink import s3
from torchkeep.core.sink.objects import FAULTS, Store

PART: Final = 8 << 20
"""Bytes of a part, at first: stores want 5 MiB at least and take 10,000 parts."""

_GROWS: Final = 2000  # parts after which parts are twice as large: an object of 1 TB fits
_MARK: Final = "torchkeep-upload"  # metadata by which a lost answer is told from a lost race


class _Parts(Protocol):
    """What sends the parts of one object.

    Attributes:
        threads: How many parts may be sent at once.
    """

    threads: int

    def send(self, number: int, data: bytes) -> None:
        """Send a part, counted from 1."""

    def finish(self, *, exclusive: bool) -> None:
        """Let the object appear."""

    def abort(self) -> None:
        """Take back what was sent."""


@contextmanager
def uploading(scheme: str, bucket: str, key: str, *, exclusive: bool) -> Iterator[BinaryIO]:
    """Open an object for writing; arguments and errors are those of ``sink.replacing``."""
    store = Store(scheme, bucket)
    if exclusive and store.exists(key):  # told before the work; the condition makes sure after it
        raise store.taken(key)
    stream = _Stream(store, key)
    try:
        yield cast("BinaryIO", stream)
        stream.finish(exclusive=exclusive)
    except BaseException:
        stream.abort()
        raise


class _Stream(io.RawIOBase):
    """Collects what is written into parts. What fits into one is put by one request."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._held = bytearray()
        self._parts: _Parts | None = None
        self._number = 0
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._held += data
        size = PART << self._number // _GROWS
        while len(self._held) >= size:
            self._send(bytes(self._held[:size]))
            del self._held[:size]
        return len(data)

    def finish(self, *, exclusive: bool) -> None:
        """Let the object appear."""
        if self._parts is None:
            self._store.put(self._key, bytes(self._held), exclusive=exclusive)
        else:
            if self._held:
                self._send(bytes(self._held))
            self._settle(0)
            self._parts.finish(exclusive=exclusive)
        self._release()

    def abort(self) -> None:
        """Take back what was sent."""
        self._release()
        if self._parts is not None:
            self._parts.abort()

    def _send(self, data: bytes) -> None:
        if self._parts is None or self._pool is None:
            kind = _S3Parts if self._store.scheme == "s3" else _StagedParts
            self._parts = kind(self._store, self._key)
            self._pool = ThreadPoolExecutor(self._parts.threads, "torchkeep-upload")
        self._settle(self._parts.threads - 1)
        self._number += 1
        self._pending.append(self._pool.submit(self._parts.send, self._number, data))

    def _release(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _settle(self, left: int) -> None:
        while len(self._pending) > left:
            self._pending.popleft().result()


class _S3Parts:
    """A multipart upload to S3."""

    threads = 2

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._token = store, secrets.token_hex(16)
        self._at = {"Bucket": store.bucket, "Key": key}
        self._client = s3.client()
        self._tags: dict[int, str] = {}
        started = self._ask("create_multipart_upload", Metadata={_MARK: self._token})
        self._upload = {"UploadId": started["UploadId"]}

    def send(self, number: int, data: bytes) -> None:
        sent = self._ask("upload_part", PartNumber=number, Body=data, **self._upload)
        self._tags[number] = sent["ETag"]

    def finish(self, *, exclusive: bool) -> None:
        parts = [
            {"PartNumber": number, "ETag": self._tags[number]} for number in sorted(self._tags)
        ]
        condition = {"IfNoneMatch": "*"} if exclusive else {}
        try:
            self._client.complete_multipart_upload(
                **self._at, **self._upload, **condition, MultipartUpload={"Parts": parts}
            )
        except s3.FAULTS as error:
            # The client repeats a request whose answer was lost; the second one fails, since the
            # first one was done.
            if not self._is_ours():
                raise self._failed(error, exclusive=exclusive) from None

    def abort(self) -> None:
        with suppress(*s3.FAULTS):  # the first failure is the one to tell
            self._client.abort_multipart_upload(**self._at, **self._upload)

    def _ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, call)(**self._at, **arguments)
        except s3.FAULTS as error:
            raise self._failed(error) from None
        return answer

    def _is_ours(self) -> bool:
        try:
            found = self._client.head_object(**self._at)
        except s3.FAULTS:
            return False
        return bool(found["Metadata"].get(_MARK) == self._token)

    def _failed(self, error: Exception, *, exclusive: bool = False) -> TorchkeepError:
        code = s3.code(error)
        if exclusive and code in ("PreconditionFailed", "ConditionalRequestConflict"):
            return self._store.taken(self._at["Key"])
        answer = f"its store refused it ({code})" if code else "no store answered as expected"
        return Internal(
            f"{self._store.name(self._at['Key'])} was not written: {answer}",
            next="check credentials, region and endpoint (AWS_ENDPOINT_URL_S3), then run it again",
        )


class _StagedParts:
    """An upload to a store whose uploads end without a condition.

    It goes to a name of its own, and from there the store copies it to the key, which must be free
    for that: a copy that nobody downloads.
    """

    threads = 1  # its writer takes them in order

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key, self._token = store, key, secrets.token_hex(16)
        self._staged = f"{key}.{self._token}.torchkeep-part"
        try:
            self._writer = obstore.open_writer(
                store.client, self._staged, buffer_size=PART, attributes={_MARK: self._token}
            )
        except FAULTS as error:
            raise store.refused(key, error) from None

    def send(self, number: int, data: bytes) -> None:
        try:
            self._writer.write(data)
        except FAULTS as error:
            raise self._store.refused(self._key, error) from None

    def finish(self, *, exclusive: bool) -> None:
        try:
            self._writer.close()
            obstore.copy(self._store.client, self._staged, self._key, overwrite=not exclusive)
        except AlreadyExistsError:
            if not self._is_ours():
                raise self._store.taken(self._key) from None
        except FAULTS as error:
            if not self._is_ours():
                raise self._store.refused(self._key, error) from None
        self.abort()

    def abort(self) -> None:
        with suppress(*FAULTS):
            obstore.delete(self._store.client, self._staged)

    def _is_ours(self) -> bool:
        try:
            found = obstore.get(self._store.client, self._key, options={"range": (0, 1)})
        except FAULTS:
            return False
        return found.attributes.get(_MARK) == self._token

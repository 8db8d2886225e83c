"""Objects in S3, Google Cloud Storage and Azure Blob Storage. Importing it needs obstore."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore import store as stores
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from torchkeep.core.errors import SourceError
from torchkeep.core.source.base import FIRST, Source
from torchkeep.core.text import visible

if TYPE_CHECKING:
    from obstore import ObjectMeta

# obstore's own limit of 30 seconds is for a whole answer, in which no large tensor comes.
_CLIENT: Final = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "6h"}
_RETRY: Final = {"max_retries": 4}
# Of what a store says only its number and its word for it are taken: the rest quotes URLs.
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
# Without credentials in the environment the machine in the cloud is asked for its own.
NO_CREDENTIALS: Final = re.compile(
    "/latest/api/token|/latest/meta-data|token request|Account must be specified"
)
_NO_STORE: Final = "no store answered as expected"


@dataclass(frozen=True, slots=True)
class Cloud:
    """How one of the clouds is reached.

    Attributes:
        store: Class in :mod:`obstore.store`.
        endpoints: Variables that name an endpoint other than the cloud's own.
        credentials: What to set, for a message.
    """

    store: str
    endpoints: tuple[str, ...]
    credentials: str


CLOUDS: Final = {
    "s3": Cloud(
        "S3Store",
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SKIP_SIGNATURE=true if it is public)",
    ),
    "gs": Cloud(
        "GCSStore",
        ("GOOGLE_BASE_URL",),
        "GOOGLE_APPLICATION_CREDENTIALS (GOOGLE_SKIP_SIGNATURE=true if it is public)",
    ),
    "az": Cloud(
        "AzureStore",
        ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
        " (AZURE_SKIP_SIGNATURE=true if it is public)",
    ),
}


class ObjectSource(Source):
    """An object in a store.

    Endpoint, region and credentials come from the environment variables that the store's own tools
    know (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``). One request opens the object and brings its first
    bytes; each read behind those is one more. Requests that the store's client repeats after a
    fault are not counted.

    Args:
        scheme: ``s3``, ``gs`` or ``az``.
        bucket: Bucket or container.
        key: The object's key, as it stands.

    Raises:
        SourceError: There is no such object, it may not be read, or the store is not reached.
    """

    def __init__(self, scheme: str, bucket: str, key: str) -> None:
        super().__init__(visible(f"{scheme}://{bucket}/{key}"))
        self._cloud = CLOUDS[scheme]
        self._key = key
        self._condition: dict[str, str] = {}
        try:
            self._store = store_of(self._cloud, bucket)
            meta = self._open()
        except (BaseError, OSError, ValueError) as error:
            raise self._failed(error) from None
        self.size = meta["size"]
        etag = meta["e_tag"] or ""
        self.version = etag or meta["last_modified"].isoformat()
        if etag and not etag.startswith("W/"):  # If-Match compares strongly
            self._condition = {"if_match": etag}

    def _open(self) -> ObjectMeta:
        try:
            meta, self._head = self._get(0, FIRST)
        except BaseError as error:
            if answered(error)[0] != "416":
                raise
            self._count(0)  # an object without bytes has no first ones
            meta = obstore.head(self._store, self._key)
        return meta

    def _read(self, offset: int, length: int) -> bytes:
        try:
            meta, data = self._get(offset, length)
        except (BaseError, OSError) as error:
            raise self._failed(error) from None
        version = meta["e_tag"] or meta["last_modified"].isoformat()
        if (meta["size"], version, len(data)) != (self.size, self.version, length):
            raise self._changed()
        return data

    def _get(self, offset: int, length: int) -> tuple[ObjectMeta, bytes]:
        options: Any = {"range": (offset, offset + length), **self._condition}
        received = 0
        try:
            result = obstore.get(self._store, self._key, options=options)
            data = result.bytes().to_bytes()
            received = len(data)
            return result.meta, data
        finally:
            self._count(received)

    def _failed(self, error: Exception) -> SourceError:
        """What went wrong. The error it is made of is not chained: its text may tell a secret."""
        status, code = answered(error)
        if isinstance(error, PreconditionError) or status == "416":
            return self._changed()
        if isinstance(error, FileNotFoundError):
            what = "bucket" if code in _NO_BUCKET else "object"
            return SourceError(f"{self.name}: there is no such {what}", next="check the name")
        answer = f" ({' '.join(filter(None, (status, code)))})" if status else ""
        hint = f"set {self._cloud.credentials}"
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            reason = f"its store refuses to hand it out{answer}"
        elif NO_CREDENTIALS.search(str(error)):
            reason = "no credentials for its store were found"
        else:
            reason = f"its store does not serve it{answer}" if status else _NO_STORE
            hint = f"check credentials, region and endpoint ({self._cloud.endpoints[0]})"
        return SourceError(f"{self.name}: {reason}", next=hint)


def store_of(cloud: Cloud, bucket: str) -> Any:
    """The client of a bucket, as the environment names it; obstore's errors pass unchanged."""
    # An endpoint that was given as http:// is meant so, as in the clouds' own tools; everything
    # else stays with TLS.
    plain = any(os.environ.get(name, "").startswith("http://") for name in cloud.endpoints)
    return getattr(stores, cloud.store)(
        bucket, client_options={**_CLIENT, "allow_http": plain}, retry_config=_RETRY
    )


def answered(error: Exception) -> tuple[str, str]:
    """Status and code of a store's answer; empty where there was none."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return status[1] if status else "", code[1] if code else ""

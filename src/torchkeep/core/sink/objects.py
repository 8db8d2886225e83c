"""Small objects in stores, put and replaced on a condition. Importing it needs obstore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from torchkeep.core.errors import Internal, SourceError, TorchkeepError, UsageError
from torchkeep.core.source.objects import CLOUDS, NO_CREDENTIALS, answered, store_of
from torchkeep.core.text import visible

_TAKEN: Final = (AlreadyExistsError, PreconditionError)
FAULTS: Final = (BaseError, OSError, ValueError)
"""What obstore raises."""


@dataclass(frozen=True, slots=True)
class Held:
    """An object as it was when it was read.

    Attributes:
        data: Its bytes.
        version: What the store knows that version by.
    """

    data: bytes
    version: dict[str, str]


class Store:
    """A bucket or a container that is written to.

    Args:
        scheme: ``s3``, ``gs`` or ``az``.
        bucket: Bucket or container.

    Raises:
        UsageError: There is no way to reach it.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self.scheme, self.bucket = scheme, bucket
        self._cloud = CLOUDS[scheme]
        try:
            self.client = store_of(self._cloud, bucket)
        except FAULTS as error:
            raise self.refused("", error) from None

    def name(self, key: str) -> str:
        """What to call an object in a message."""
        return visible(f"{self.scheme}://{self.bucket}/{key}")

    def fetch(self, key: str, limit: int) -> Held | None:
        """An object of at most ``limit`` bytes; None where there is none.

        Raises:
            SourceError: It cannot be read, or is larger.
        """
        try:
            result = obstore.get(self.client, key)
            meta = result.meta
            if meta["size"] > limit:
                raise SourceError(
                    f"{self.name(key)} has more than the {limit:,} bytes that were expected",
                    next="find out who has put it there",
                )
            data = result.bytes().to_bytes()
        except FileNotFoundError:
            return None
        except FAULTS as error:
            raise SourceError(
                f"{self.name(key)}: its store does not serve it", next=self._advice(error)
            ) from None
        known = {"e_tag": meta["e_tag"], "version": meta["version"]}
        return Held(data, {name: text for name, text in known.items() if text is not None})

    def exists(self, key: str) -> bool:
        """Whether there is an object under a key.

        Raises:
            Internal: The store does not say.
        """
        try:
            obstore.head(self.client, key)
        except FileNotFoundError:
            return False
        except FAULTS as error:
            raise self.refused(key, error) from None
        return True

    def put(
        self, key: str, data: bytes, *, exclusive: bool = False, instead_of: Held | None = None
    ) -> None:
        """Put an object, whole or not at all.

        An answer that was lost on the way counts as one: an object that holds exactly these bytes
        afterwards is the one that was put.

        Args:
            key: Its key.
            data: Its bytes.
            exclusive: Whether the key must be free.
            instead_of: What must still be there; None where that does not matter.

        Raises:
            UsageError: The key is taken.
            SourceError: Somebody else has replaced the object meanwhile.
            Internal: The store refused.
        """
        mode: Any = "create" if exclusive else instead_of.version if instead_of else "overwrite"
        try:
            obstore.put(self.client, key, data, mode=mode, use_multipart=False)
        except FAULTS as error:
            if self._holds(key, data):
                return
            if not isinstance(error, _TAKEN):
                raise self.refused(key, error) from None
            raise (self.taken(key) if exclusive else self._replaced(key)) from None

    def remove(self, key: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            Internal: The store refused.
        """
        try:
            obstore.delete(self.client, key)
        except FileNotFoundError:
            return
        except FAULTS as error:
            raise self.refused(key, error) from None

    def taken(self, key: str) -> UsageError:
        """The error for a key that is not free."""
        return UsageError(
            f"{self.name(key)} exists already and is never overwritten",
            next="choose another name, or ask for it to be replaced",
        )

    def refused(self, key: str, error: Exception) -> Internal:
        """The error for a store that does not do what it was asked to.

        The error it is made of is not chained: its text may tell a secret.
        """
        status = " ".join(filter(None, answered(error)))
        what = f"its store refused it ({status})" if status else "no store answered as expected"
        return Internal(f"{self.name(key)} was not written: {what}", next=self._advice(error))

    def _replaced(self, key: str) -> SourceError:
        return SourceError(
            f"{self.name(key)} was replaced by somebody else meanwhile", next="run it again"
        )

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            held = self.fetch(key, len(data))
        except TorchkeepError:
            return False
        return held is not None and held.data == data

    def _advice(self, error: Exception) -> str:
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        if denied or NO_CREDENTIALS.search(str(error)):
            return f"set {self._cloud.credentials}"
        return f"check bucket, region and endpoint ({self._cloud.endpoints[0]}), then run it again"

"""``kms:ARN`` or ``aws-kms:ID?region=REGION``: a symmetric key of the AWS Key Management Service.

The service wraps the file key itself, and the hash of the header is its encryption context: it
refuses to unwrap what it has wrapped for another file. Credentials and the endpoint are those that
every program of AWS takes from its environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from torchkeep.core.errors import Incomplete, Refused, UsageError
from torchkeep.core.text import visible
from torchkeep.vault import providers
from torchkeep.vault.blocks import Stanza
from torchkeep.vault.providers import body
from torchkeep.vault.schedule import LENGTH

_TYPE: Final = "aws-kms"
_WAY: Final = "symmetric"
_ALGORITHM: Final = "SYMMETRIC_DEFAULT"
_LONGEST: Final = 6144
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:kms:([a-z0-9-]+):\d{12}:key/([A-Za-z0-9-]{1,64})")
_ID: Final = re.compile(r"([A-Za-z0-9-]{1,64})\?region=([a-z0-9-]{1,32})")
# What the service says of bytes that this key has not wrapped for this file.
_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_BUSY: Final = frozenset(
    {"ThrottlingException", "KMSInternalException", "DependencyTimeoutException"}
)


@dataclass(frozen=True, slots=True)
class Key:
    """A recipient and its identity in one: whoever may use a key of the service.

    Attributes:
        name: What the service is asked for.
        region: Where.
        id: Its fingerprint, of the key's own id: the same in every spelling and replica.
    """

    name: str
    region: str
    id: bytes
    type: str = field(default=_TYPE, init=False)
    is_post_quantum: bool = field(default=True, init=False)  # AES-256
    is_alone: bool = field(default=False, init=False)

    @property
    def recipient_id(self) -> bytes:
        """The same id, of the identity."""
        return self.id

    def wrap(self, file_key: bytes, header_hash: bytes) -> Stanza:
        """Wrap a file key.

        Raises:
            Refused: The service does not allow it.
            UsageError: There is no such key, or there are no credentials.
            Incomplete: The service does not answer.
        """
        said = _call(self, "encrypt", header_hash, Plaintext=file_key)
        return body.stanza(_TYPE, _WAY, self.id + said["CiphertextBlob"])

    def unwrap(self, stanza: Stanza, header_hash: bytes) -> bytes | None:
        """The file key; None where the stanza is not for this key. Errors are those of wrapping."""
        rest = body.rest(stanza, _TYPE, _WAY) or b""
        own, wrapped = rest[: len(self.id)], rest[len(self.id) :]
        # The service is not asked for what is another key's, nor for more than it takes.
        if own != self.id or not 0 < len(wrapped) <= _LONGEST:
            return None
        said = _call(self, "decrypt", header_hash, CiphertextBlob=wrapped)
        if said is None or len(said["Plaintext"]) != LENGTH:
            return None
        file_key: bytes = said["Plaintext"]
        return file_key


def recipient(text: str) -> Key:
    """The key that ``text`` names.

    Raises:
        MissingExtra: The library is not installed.
        UsageError: It names none.
    """
    providers.library("boto3", "kms")
    name = text.partition(":")[2]
    if found := _ARN.fullmatch(name):
        return Key(name, found[1], body.fingerprint(_TYPE, found[2]))
    if found := _ID.fullmatch(name):
        return Key(found[1], found[2], body.fingerprint(_TYPE, found[1]))
    raise UsageError(
        f"{visible(text)} names no key of the service; an alias can be pointed at another one",
        next="write kms:arn:aws:kms:REGION:ACCOUNT:key/ID or aws-kms:ID?region=REGION",
    )


identity = recipient


def _call(key: Key, verb: str, header_hash: bytes, **arguments: bytes) -> Any:
    """What the service says; None where it says that the bytes are not this key's."""
    client = _client(key.region)
    faults = providers.library("botocore.exceptions", "kms")
    try:
        return getattr(client, verb)(
            KeyId=key.name,
            EncryptionAlgorithm=_ALGORITHM,
            EncryptionContext={"torchkeep-header": header_hash.hex()},
            **arguments,
        )
    except faults.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if verb == "decrypt" and code in _NOT_OURS:
            return None
        raise _refusal(key, code) from None
    except (faults.NoCredentialsError, faults.PartialCredentialsError):
        raise UsageError(
            "no credentials for the key service were found",
            next="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from None
    except faults.BotoCoreError as error:
        raise Incomplete(
            f"the key service in {key.region} does not answer ({type(error).__name__})",
            next="check the network and the region, then run it again",
        ) from None
    finally:
        client.close()


def _client(region: str) -> Any:
    config = providers.library("botocore.config", "kms").Config(
        connect_timeout=5,
        read_timeout=10,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    session = providers.library("boto3", "kms").Session(region_name=region)
    return session.client("kms", config=config)


def _refusal(key: Key, code: str) -> Exception:
    shown = visible(code[:64])
    if code in _BUSY:
        return Incomplete(
            f"the key service in {key.region} is busy ({shown})", next="run it again later"
        )
    if code == "NotFoundException":
        return UsageError(
            f"the key service in {key.region} has no key {key.name}",
            next="check the key's id and its region",
        )
    return Refused(
        f"the key service in {key.region} refuses to use {key.name} ({shown})",
        next="it must be symmetric and enabled, and allow kms:Encrypt or kms:Decrypt",
    )

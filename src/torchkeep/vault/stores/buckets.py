"""Buckets of S3, as their settings describe them. Importing it needs boto3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from torchkeep.core.errors import SourceError
from torchkeep.core.finding import Finding, Measured, State
from torchkeep.core.messages import message
from torchkeep.core.sink import s3
from torchkeep.core.text import visible
from torchkeep.vault.stores import policies, rows
from torchkeep.vault.stores.rows import row

_PATIENCE: Final = 15  # seconds
_BLOCKS: Final = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)
_EVERYBODY: Final = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
_FOR_EVER: Final = float("inf")
_SHORTEST: Final = 30  # days that an old version stays, so that a loss is noticed in time
_GONE: Final = ("NoSuchBucket", "404")
_ENCRYPTION: Final = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
_RETENTION: Final = {
    "ObjectLockEnabled": "Enabled",
    "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": _SHORTEST}},
}


class _Unknown(Exception):
    """The store does not tell a setting."""


class _Bucket:
    """A bucket that is asked for its settings."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = visible(f"s3://{name}")
        self._client = s3.client(patience=_PATIENCE)
        self._policy: list[dict[str, Any]] | None = None

    def require(self) -> None:
        """See that it is there."""
        try:
            self._client.head_bucket(Bucket=self.name)
        except s3.FAULTS as error:
            code = s3.code(error)
            if code and code not in _GONE:  # it may be looked at, if not listed
                return
            what = "there is no such bucket" if code else "no store answered as expected"
            raise SourceError(
                f"{self.url}: {what}",
                next="check name, credentials, region and endpoint (AWS_ENDPOINT_URL_S3)",
            ) from None

    def ask(self, call: str, absent: str) -> dict[str, Any]:
        """A setting; empty where the store has none, and says so with the word ``absent``."""
        try:
            answer: dict[str, Any] = getattr(self._client, call)(Bucket=self.name)
        except s3.FAULTS as error:
            code = s3.code(error)
            if code == absent:
                return {}
            raise _Unknown(code or type(error).__name__) from None
        return answer

    def policy(self) -> list[dict[str, Any]]:
        """The statements of its policy."""
        if self._policy is None:
            found = self.ask("get_bucket_policy", "NoSuchBucketPolicy")
            try:
                self._policy = policies.statements(found.get("Policy", "{}"))
            except ValueError:
                raise _Unknown("MalformedPolicy") from None
        return self._policy

    def fix(self, call: str, option: str, value: object) -> tuple[str, ...]:
        """The command that sets something."""
        text = value if isinstance(value, str) else json.dumps(value)
        return ("aws", "s3api", call, "--bucket", self.name, option, text)


def look(name: str) -> Iterator[Finding]:
    """One row for each setting.

    Raises:
        SourceError: There is no such bucket, or no store.
    """
    bucket = _Bucket(name)
    bucket.require()
    for rule, look_at in _LOOKS.items():
        try:
            yield look_at(bucket)
        except _Unknown as error:
            reason = message("vault.store.untold", why=str(error))
            yield row(rule, bucket.url, State.NOT_MEASURED, reason)


def _public(bucket: _Bucket) -> Finding:
    found = bucket.ask("get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
    flags = found.get("PublicAccessBlockConfiguration", {})
    if all(flags.get(name) for name in _BLOCKS):
        return row(rows.PUBLIC, bucket.url, State.PASS, message("vault.store.blocked"))
    state, reason = State.WARN, "not-blocked"
    if not flags.get("IgnorePublicAcls") and _granted(bucket):
        state, reason = State.FAIL, "public-acl"
    elif not flags.get("RestrictPublicBuckets") and policies.is_public(bucket.policy()):
        state, reason = State.FAIL, "public-policy"
    return row(
        rows.PUBLIC,
        bucket.url,
        state,
        message(f"vault.store.{reason}"),
        fix=bucket.fix(
            "put-public-access-block",
            "--public-access-block-configuration",
            ",".join(f"{name}=true" for name in _BLOCKS),
        ),
    )


def _granted(bucket: _Bucket) -> bool:
    grants = bucket.ask("get_bucket_acl", "").get("Grants", [])
    return any(grant.get("Grantee", {}).get("URI") in _EVERYBODY for grant in grants)


def _encrypted(bucket: _Bucket) -> Finding:
    found = bucket.ask("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError")
    kinds = [
        rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm")
        for rule in found.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    ]
    if kind := next(filter(None, kinds), None):
        reason = message("vault.store.encrypted")
        measured = Measured(value=str(kind))
        return row(rows.ENCRYPTED, bucket.url, State.PASS, reason, measured=measured)
    fix = bucket.fix("put-bucket-encryption", "--server-side-encryption-configuration", _ENCRYPTION)
    return row(
        rows.ENCRYPTED, bucket.url, State.FAIL, message("vault.store.not-encrypted"), fix=fix
    )


def _on_the_way(bucket: _Bucket) -> Finding:
    if (s3.endpoint() or "").startswith("http://"):
        reason = message("vault.store.plain-endpoint")
        return row(rows.ON_THE_WAY, bucket.url, State.FAIL, reason)
    statements = bucket.policy()
    if policies.demands_tls(statements, bucket.name):
        return row(rows.ON_THE_WAY, bucket.url, State.PASS, message("vault.store.tls"))
    return row(
        rows.ON_THE_WAY,
        bucket.url,
        State.FAIL,
        message("vault.store.no-tls"),
        fix=bucket.fix("put-bucket-policy", "--policy", policies.with_tls(statements, bucket.name)),
    )


def _versioned(bucket: _Bucket) -> Finding:
    status = bucket.ask("get_bucket_versioning", "").get("Status")
    if status == "Enabled":
        return row(rows.VERSIONED, bucket.url, State.PASS, message("vault.store.versioned"))
    fix = bucket.fix("put-bucket-versioning", "--versioning-configuration", "Status=Enabled")
    reason = message("vault.store.not-versioned")
    return row(rows.VERSIONED, bucket.url, State.FAIL, reason, fix=fix)


def _locked(bucket: _Bucket) -> Finding:
    found = bucket.ask("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError")
    lock = found.get("ObjectLockConfiguration", {})
    retention = lock.get("Rule", {}).get("DefaultRetention", {})
    if lock.get("ObjectLockEnabled") == "Enabled" and retention:
        days = retention.get("Days") or 365 * retention.get("Years", 0)
        measured = Measured(value=days, unit="days")
        reason = message("vault.store.locked", mode=str(retention.get("Mode")))
        return row(rows.LOCKED, bucket.url, State.PASS, reason, measured=measured)
    fix = bucket.fix("put-object-lock-configuration", "--object-lock-configuration", _RETENTION)
    return row(rows.LOCKED, bucket.url, State.WARN, message("vault.store.not-locked"), fix=fix)


def _kept(bucket: _Bucket) -> Finding:
    found = bucket.ask("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
    rules = found.get("Rules", [])
    days = min((_days(rule) for rule in rules if rule.get("Status") == "Enabled"), default=None)
    if days is None or days == _FOR_EVER:
        return row(rows.KEPT, bucket.url, State.PASS, message("vault.store.kept"))
    measured = Measured(value=int(days), unit="days")
    if days >= _SHORTEST:
        reason = message("vault.store.kept-long")
        return row(rows.KEPT, bucket.url, State.PASS, reason, measured=measured)
    longer = {"Rules": [_longer(rule) for rule in rules]}
    fix = bucket.fix("put-bucket-lifecycle-configuration", "--lifecycle-configuration", longer)
    reason = message("vault.store.kept-short")
    return row(rows.KEPT, bucket.url, State.FAIL, reason, measured=measured, fix=fix)


def _days(rule: dict[str, Any]) -> float:
    """Days that an old version is sure to stay."""
    days = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    return _FOR_EVER if days is None else float(days)


def _longer(rule: dict[str, Any]) -> dict[str, Any]:
    if _days(rule) >= _SHORTEST:
        return rule
    old = rule["NoncurrentVersionExpiration"]
    return rule | {"NoncurrentVersionExpiration": old | {"NoncurrentDays": _SHORTEST}}


_LOOKS: Final[dict[str, Callable[[_Bucket], Finding]]] = {
    rows.PUBLIC: _public,
    rows.ENCRYPTED: _encrypted,
    rows.ON_THE_WAY: _on_the_way,
    rows.VERSIONED: _versioned,
    rows.LOCKED: _locked,
    rows.KEPT: _kept,
}

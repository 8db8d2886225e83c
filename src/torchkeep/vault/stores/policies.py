"""What the policy of a bucket allows to everybody, and what it forbids to everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torchkeep.core import strict

_VERSION: Final = "2012-10-17"

Statements = Sequence[dict[str, Any]]


def statements(text: str) -> list[dict[str, Any]]:
    """The statements of a policy.

    Raises:
        ValueError: It is none.
    """
    document = strict.loads(text.encode())
    found = document.get("Statement", []) if isinstance(document, dict) else None
    listed = [found] if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError("it is no policy")
    return listed


def is_public(found: Statements) -> bool:
    """Whether a statement allows something to everybody, on no condition."""
    return any(
        one.get("Effect") == "Allow"
        and (_is_everybody(one) or "NotPrincipal" in one)
        and not one.get("Condition")
        for one in found
    )


def demands_tls(found: Statements, bucket: str) -> bool:
    """Whether everything is denied to everybody who comes without TLS."""
    return any(
        one.get("Effect") == "Deny"
        and _is_everybody(one)
        and {"*", "s3:*"} & set(_list(one.get("Action")))
        and _covers(_list(one.get("Resource")), bucket)
        and _is_without_tls(one.get("Condition"))
        for one in found
    )


def with_tls(found: Statements, bucket: str) -> dict[str, Any]:
    """The policy with a statement more, that denies everything that comes without TLS."""
    deny = {
        "Sid": "DenyWithoutTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    others = [one for one in found if one.get("Sid") != deny["Sid"]]
    return {"Version": _VERSION, "Statement": [*others, deny]}


def _is_everybody(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        return "*" in _list(principal.get("AWS"))
    return principal == "*"


def _covers(resources: list[str], bucket: str) -> bool:
    """Whether the bucket itself and all of its objects are meant."""
    ends = [resource.rpartition(":")[2] for resource in resources]
    return "*" in resources or f"{bucket}*" in ends or {bucket, f"{bucket}/*"} <= set(ends)


def _is_without_tls(condition: object) -> bool:
    """Whether that is the only condition: each further one makes a hole."""
    if not isinstance(condition, dict) or list(condition) != ["Bool"]:
        return False
    said = condition["Bool"]
    if not isinstance(said, dict) or [name.lower() for name in said] != ["aws:securetransport"]:
        return False
    return [str(value).lower() for one in said.values() for value in _list(one)] == ["false"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]

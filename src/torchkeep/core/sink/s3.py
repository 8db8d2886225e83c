"""S3 through Amazon's client, for what obstore lacks. Importing it needs boto3.

That is a multipart upload which ends on a condition, and the settings of a bucket.
"""

from __future__ import annotations

import os
from typing import Any, Final

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

FAULTS: Final = (BotoCoreError, ClientError)
"""What the client raises."""

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_ATTEMPTS: Final = 4
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_TRUE: Final = ("1", "true", "yes", "on")


def client(*, patience: int = 30) -> Any:
    """A client with the endpoint, region and credentials of the environment, as obstore takes them.

    Args:
        patience: Seconds that an answer may take.
    """
    config = Config(
        connect_timeout=min(10, patience),
        read_timeout=patience,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        signature_version=UNSIGNED if _unsigned() else None,
    )
    # A session of its own: boto3's default one belongs to whoever calls us.
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint(), region_name=_first(_REGIONS) or "us-east-1", config=config
    )


def endpoint() -> str | None:
    """The endpoint that the environment names; None for the cloud's own."""
    return _first(_ENDPOINTS)


def code(error: Exception) -> str:
    """The store's word for what went wrong; empty where it gave none."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def _unsigned() -> bool:
    return os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in _TRUE


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)

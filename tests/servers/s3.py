"""A moto server for S3 on the loopback interface, with a proxy for faults before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from servers.faults import Proxy


class S3(NamedTuple):
    """A running server.

    Attributes:
        client: Goes around the proxy.
        proxy: Everything else goes through it.
        bucket: A bucket that is there.
    """

    client: Any
    proxy: Proxy
    bucket: str = "sealed"

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def names(self) -> list[str]:
        """Keys of all objects."""
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [one["Key"] for one in found]

    def uploads(self) -> list[dict[str, Any]]:
        """Multipart uploads that have not ended."""
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One server for all tests."""
    pytest.importorskip("obstore", reason="object stores need the extra: torchkeep[store]")
    boto3 = pytest.importorskip("boto3", reason="object stores need the extra: torchkeep[store]")
    moto = pytest.importorskip("moto.server", reason="the S3 double needs moto[s3,server]")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with Proxy(host, port) as proxy:
            client = boto3.session.Session("someone", "hunter2").client(
                "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1"
            )
            client.create_bucket(Bucket=S3._field_defaults["bucket"])
            yield S3(client, proxy)
            client.close()
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, empty and without faults, as the environment names it."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server.proxy.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_MAX_ATTEMPTS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    s3_server.proxy.does()
    yield s3_server
    s3_server.proxy.does()
    for key in s3_server.names():
        s3_server.client.delete_object(Bucket=s3_server.bucket, Key=key)
    for one in s3_server.uploads():
        s3_server.client.abort_multipart_upload(
            Bucket=s3_server.bucket, Key=one["Key"], UploadId=one["UploadId"]
        )

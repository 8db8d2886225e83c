"""Objects in stores: S3 as moto plays it, the two others as our own web server does."""

import random
import traceback
from urllib.parse import unquote

import pytest
from doubles.http import FileServer, Seen, heedless, ranges, stated, status, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.core import source
from torchkeep.core.errors import SourceError

pytest.importorskip("obstore", reason="object stores need the extra: torchkeep[store]")

DATA = random.Random(0).randbytes(50_000)
SLICE = (30_000, 5_000)
EXPECTED = DATA[30_000:35_000]
KEY = "a b/c?d#e%20é.bin"


@pytest.fixture(scope="module")
def s3():
    """A client of an S3 server on the loopback interface, which the environment names."""
    boto3 = pytest.importorskip("boto3", reason="the S3 double needs moto[s3,server]")
    moto = pytest.importorskip("moto.server", reason="the S3 double needs moto[s3,server]")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", url)
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_ACCESS_KEY_ID", "someone")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
            client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
            client.create_bucket(Bucket="bucket")
            client.put_object(Bucket="bucket", Key=KEY, Body=DATA)
            yield client
            client.close()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def opened(s3):
    with source.open(f"s3://bucket/{KEY}") as file:
        yield file


class TestS3:
    @settings(deadline=None)
    @given(first=st.integers(0, len(DATA)), second=st.integers(0, len(DATA)))
    def test_a_read_is_a_slice(self, opened, first, second):
        start, end = sorted((first, second))
        assert opened.read(start, end - start) == DATA[start:end]

    def test_opening_and_one_read_are_two_requests(self, s3):
        with source.open(f"s3://bucket/{KEY}") as file:
            assert (file.name, file.size) == (f"s3://bucket/{KEY}", len(DATA))
            assert file.read(0, 8) == DATA[:8]
            assert file.read(*SLICE) == EXPECTED
            assert (file.requests, file.bytes_read) == (2, 16_384 + 5_000)

    def test_an_empty_object_has_no_bytes(self, s3):
        s3.put_object(Bucket="bucket", Key="empty", Body=b"")
        with source.open("s3://bucket/empty") as file:
            assert (file.size, file.read(0, 0)) == (0, b"")
            with pytest.raises(SourceError, match="has 0 bytes"):
                file.read(0, 1)

    @pytest.mark.parametrize(
        "body",
        [DATA[::-1], DATA + b"more", DATA[:33_000], DATA[:10]],
        ids=["other", "longer", "shorter", "short"],
    )
    def test_an_object_that_changes_is_not_read_on(self, s3, body):
        s3.put_object(Bucket="bucket", Key="moving", Body=DATA)
        with source.open("s3://bucket/moving") as file:
            assert file.read(*SLICE) == EXPECTED
            s3.put_object(Bucket="bucket", Key="moving", Body=body)
            with pytest.raises(SourceError, match="changed while it was read"):
                file.read(*SLICE)

    def test_what_is_missing_is_named(self, s3):
        with pytest.raises(SourceError, match="s3://bucket/none: there is no such object"):
            source.open("s3://bucket/none")
        with pytest.raises(SourceError, match="s3://elsewhere/x: there is no such bucket"):
            source.open("s3://elsewhere/x")

    def test_an_object_that_is_deleted_is_named(self, s3):
        s3.put_object(Bucket="bucket", Key="short-lived", Body=DATA)
        with source.open("s3://bucket/short-lived") as file:
            s3.delete_object(Bucket="bucket", Key="short-lived")
            with pytest.raises(SourceError, match="no such object"):
                file.read(*SLICE)

    def test_no_credentials(self, s3, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        with pytest.raises(SourceError, match="no credentials for its store were found") as caught:
            source.open(f"s3://bucket/{KEY}")
        assert "AWS_ACCESS_KEY_ID" in caught.value.next

    def test_no_access(self, s3, monkeypatch):
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        with pytest.raises(SourceError, match=r"refuses to hand it out \(403\)"):
            source.open(f"s3://bucket/{KEY}")

    def test_no_store(self, s3, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(
            SourceError,
            match="no store answered as expected; check credentials, region and endpoint",
        ):
            source.open(f"s3://bucket/{KEY}")


@pytest.fixture(params=["gs", "az", "s3"])
def cloud(request, monkeypatch):
    """A server in the place of each cloud, and the scheme that leads there."""
    with FileServer(DATA) as server:
        url = f"http://{server.authority}"
        for name, value in {
            "GOOGLE_BASE_URL": url,
            "GOOGLE_SKIP_SIGNATURE": "true",
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ENDPOINT": url,
            "AZURE_SKIP_SIGNATURE": "true",
            "AWS_ENDPOINT_URL": url,
            "AWS_SKIP_SIGNATURE": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield request.param, server


class TestEveryCloud:
    def test_it_reads_ranges(self, cloud):
        scheme, server = cloud
        with source.open(f"{scheme}://bucket/folder/key") as file:
            assert file.read(*SLICE) == EXPECTED
            assert (file.size, file.version, file.requests) == (len(DATA), '"one"', 2)
        last: Seen = server.requests[-1]
        assert unquote(last.target) == "/bucket/folder/key"
        assert last.headers["Range"] == "bytes=30000-34999"
        assert last.headers["If-Match"] == '"one"'

    @pytest.mark.parametrize("behaviour", [ranges, heedless, status(416)])
    def test_an_object_that_changes_is_not_read_on(self, cloud, behaviour):
        scheme, server = cloud
        with source.open(f"{scheme}://bucket/key") as file:
            server.does(behaviour)
            server.becomes(DATA[::-1])
            with pytest.raises(SourceError, match="changed while it was read"):
                file.read(*SLICE)

    @pytest.mark.parametrize(
        ("behaviour", "words"),
        [
            (status(401), "refuses to hand it out"),
            (status(403), "refuses to hand it out"),
            (status(404), "there is no such object"),
            (status(400), r"does not serve it \(400\)"),
            (whole, "no store answered as expected"),
            (stated(Content_Range="bytes 5-16388/50000"), "no store answered as expected"),
        ],
    )
    def test_a_wrong_answer_is_an_error_without_secrets(self, cloud, behaviour, words):
        scheme, server = cloud
        server.does(behaviour)
        with pytest.raises(SourceError, match=words) as caught:
            source.open(f"{scheme}://bucket/key")
        assert caught.value.next
        assert server.authority not in "".join(traceback.format_exception(caught.value))

    def test_http_is_used_only_where_the_endpoint_says_so(self, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        from torchkeep.core.source import objects

        kept = {}
        monkeypatch.setattr(objects.stores, "S3Store", lambda _, **settings: kept.update(settings))
        objects.store_of(objects.CLOUDS["s3"], "bucket")
        assert kept["client_options"]["allow_http"] is False


def test_azure_needs_an_account(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SourceError, match="no credentials") as caught:
        source.open("az://container/key")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.next

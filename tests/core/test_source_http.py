"""Files on web servers, and what servers do wrong."""

import base64
import io
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from doubles.http import (
    DATA,
    EXPECTED,
    PATH,
    SLICE,
    FileServer,
    chunked,
    drip,
    drop,
    garbage,
    heedless,
    ranges,
    redirect,
    short,
    silent,
    stated,
    status,
    too_long,
    whole,
)

from torchkeep.core import source
from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.source.http import HttpSource


class TestReading:
    def test_opening_is_one_request_and_brings_the_first_bytes(self, server):
        with source.open(server.url) as file:
            assert file.size == len(DATA)
            assert file.version == '"one"'
            assert file.name == server.url
            assert file.read(0, 8) == DATA[:8]
            assert (file.requests, file.bytes_read) == (1, 16_384)

    def test_each_read_is_one_request_for_these_bytes(self, server):
        with source.open(server.url) as file:
            assert file.read(*SLICE) == EXPECTED
            assert (file.requests, file.bytes_read) == (2, 16_384 + 5_000)
        request = server.requests[-1]
        assert request.headers["Range"] == "bytes=30000-34999"
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["If-Match"] == '"one"'

    def test_the_connection_stays_open(self, server):
        with source.open(server.url) as file:
            for offset in range(20_000, 20_100):
                file.read(offset, 1)
        assert (len(server.requests), server.connections) == (101, 1)

    def test_a_connection_that_was_closed_while_idle_is_no_fault(self, server, naps):
        server.does(stated(Connection="close"), stated(Connection="close"), ranges, drop, ranges)
        with source.open(server.url) as file:
            for _ in range(3):
                assert file.read(*SLICE) == EXPECTED
        assert naps == []

    @pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385])
    def test_a_file_about_as_long_as_the_first_bytes(self, size):
        with FileServer(DATA[:size]) as server, source.open(server.url) as file:
            assert file.read(0, size) == DATA[:size]
            assert file.requests == 1 + (size > 16_384)

    @pytest.mark.parametrize("answer", [ranges, whole])
    def test_an_empty_file(self, answer):
        with FileServer(b"") as server:
            server.does(answer)
            with source.open(server.url) as file:
                assert (file.size, file.read(0, 0)) == (0, b"")

    def test_chunks_are_as_good(self, server):
        server.does(chunked)
        with source.open(server.url) as file:
            assert file.read(*SLICE) == EXPECTED

    def test_a_path_is_sent_encoded_once(self, server):
        with source.open(f"http://{server.authority}/a b/é%20?x=ü y#top") as file:
            assert file.name == f"http://{server.authority}/a%20b/%C3%A9%20"
        assert server.requests[0].target == "/a%20b/%C3%A9%20?x=%C3%BC%20y"

    def test_a_weak_tag_is_compared_but_no_condition(self, server):
        server.becomes(DATA, 'W/"one"')
        with source.open(server.url) as file:
            file.read(*SLICE)
            assert "If-Match" not in server.requests[-1].headers
            server.does(heedless)
            server.becomes(DATA, 'W/"two"')
            with pytest.raises(SourceError, match="changed"):
                file.read(*SLICE)


WRONG = {
    "ignores ranges": (whole, "sends whole files only"),
    "is missing": (status(404), r"has no such file \(404\)"),
    "is gone": (status(410), r"no such file any more \(410\)"),
    "wants a password": (status(401), r"asks for a user name and a password \(401\)"),
    "is forbidden": (status(403), r"refuses to hand it out \(403\)"),
    "cannot do ranges": (status(416), r"does not serve it \(416\)"),
    "says nothing of ranges": (stated(Content_Range=""), "does not say which bytes"),
    "does not know the size": (stated(Content_Range="bytes 0-16383/*"), "does not say which bytes"),
    "starts elsewhere": (stated(Content_Range="bytes 1-16384/50000"), "sends other bytes"),
    "starts late": (
        lambda handler: handler.part(DATA[1:16_384], Content_Range="bytes 1-16383/50000"),
        "sends other bytes",
    ),
    "ends elsewhere": (stated(Content_Range="bytes 0-49999/50000"), "sends other bytes"),
    "ends too early": (stated(Content_Range="bytes 0-16382/50000"), "sends other bytes"),
    "ends behind the end": (stated(Content_Range="bytes 0-16383/9"), "sends other bytes"),
    "sends more": (too_long, "sends more bytes than it says"),
    "compresses": (stated(Content_Encoding="gzip"), "compressed"),
    "is no web server": (garbage, "does not speak HTTP"),
    "redirects out of the web": (redirect("file:///etc/passwd"), "file: is neither http nor https"),
    "redirects nowhere": (status(302), "it leads nowhere"),
    "redirects in a circle": (redirect(PATH), "redirects more than 5 times"),
    "redirects to nonsense": (redirect("http://[::1"), "it is malformed"),
}


class TestWrongAnswers:
    @pytest.mark.parametrize(("behaviour", "words"), WRONG.values(), ids=WRONG)
    def test_it_is_refused_at_once(self, server, naps, behaviour, words):
        server.does(behaviour)
        with pytest.raises(SourceError, match=words) as caught:
            source.open(server.url)
        assert caught.value.next
        assert naps == []
        assert len(server.requests) == (6 if "times" in words else 1)

    @pytest.mark.parametrize(
        "behaviour",
        [
            stated(Content_Range="bytes 29999-34998/50000"),
            stated(Content_Range="bytes 30000-35000/50000"),
            stated(Content_Range="bytes 0-4999/50000"),
            too_long,
            whole,
            stated(Content_Encoding="br"),
        ],
    )
    def test_it_is_refused_in_the_middle_too(self, server, naps, behaviour):
        with source.open(server.url) as file:
            server.does(behaviour)
            with pytest.raises(SourceError, match="the server sends"):
                file.read(*SLICE)
            server.does(ranges)
            assert file.read(*SLICE) == EXPECTED

    def test_the_body_of_a_refusal_is_not_waited_for(self, server):
        server.does(status(404, Content_Length="1000"))
        with pytest.raises(SourceError, match="has no such file"):
            HttpSource(server.url, timeout=0.5, attempts=1)

    def test_a_file_that_is_not_wanted_is_not_downloaded(self):
        with FileServer(bytes(50_000_000)) as server:
            server.does(whole)
            start = time.perf_counter()
            with pytest.raises(SourceError, match="download the file"):
                source.open(server.url)
            assert time.perf_counter() - start < 5

    @pytest.mark.parametrize(
        "url", ["http://", "http://user@/x", "http://h:port/x", "http://[::1/x", "https://a b/x"]
    )
    def test_a_malformed_url_is_a_usage_error(self, url):
        with pytest.raises(UsageError, match="the URL cannot be used"):
            source.open(url)

    def test_nobody_listens(self, naps):
        with FileServer(DATA) as server:
            url = server.url
        with pytest.raises(SourceError, match="cannot be reached: Connection refused"):
            source.open(url)
        assert naps == []


class TestFaultsThatPass:
    @pytest.mark.parametrize(
        "fault", [drop, short, status(500), status(503), status(429), status(408)]
    )
    def test_it_asks_again(self, server, naps, fault):
        with source.open(server.url) as file:
            server.does(fault, fault, ranges)
            assert file.read(*SLICE) == EXPECTED
        assert naps == [0.5, 1.0][: len(naps)]
        assert naps

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (drop, "broke the connection"),
            (short, "stopped after 8192 of 16384 bytes"),
            (status(503), "answered 503"),
        ],
    )
    def test_it_gives_up(self, server, naps, fault, words):
        server.does(fault)
        with pytest.raises(SourceError, match=rf"{words} \(attempt 4\); try again later"):
            source.open(server.url)
        assert naps == [0.5, 1.0, 2.0]
        assert len(server.requests) == 4

    @pytest.mark.parametrize(
        ("value", "slept"),
        [("7", 7), ("0", 0.5), ("soon", 0.5), ("-5", 0.5), ("Mon, 23 Nov 1998 08:00:00 GMT", 0.5)],
    )
    def test_it_waits_as_long_as_it_is_told(self, server, naps, value, slept):
        server.does(status(429, Retry_After=value), ranges)
        with source.open(server.url):
            assert naps == [slept]

    def test_it_waits_until_the_time_it_is_told(self, server, naps):
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        server.does(status(503, Retry_After=until), ranges)
        with source.open(server.url):
            assert 15 < naps[0] <= 20

    def test_it_does_not_wait_for_ever(self, server, naps):
        server.does(status(503, Retry_After="86400"))
        with pytest.raises(SourceError, match="try again in 86400 seconds"):
            source.open(server.url)
        assert naps == []

    @pytest.mark.parametrize("behaviour", [silent, drip])
    def test_a_server_that_takes_too_long_is_left(self, server, naps, behaviour):
        server.does(behaviour)
        with pytest.raises(SourceError, match="did not answer in time"):
            HttpSource(server.url, timeout=0.2, attempts=1)

    def test_an_interrupted_open_leaves_no_connection(self, server, monkeypatch):
        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", interrupted)
        server.does(status(503))
        with pytest.raises(KeyboardInterrupt):
            source.open(server.url)


class TestChanges:
    @pytest.mark.parametrize("behaviour", [ranges, heedless])
    @pytest.mark.parametrize(
        "body",
        [DATA[::-1], DATA + b"more", DATA[:33_000], DATA[:10]],
        ids=["other", "longer", "shorter", "short"],
    )
    def test_a_file_that_changes_is_not_read_on(self, server, behaviour, body):
        with source.open(server.url) as file:
            file.read(*SLICE)
            server.becomes(body)
            server.does(ranges if len(body) < 30_000 else behaviour)
            with pytest.raises(SourceError, match="changed while it was read"):
                file.read(*SLICE)

    def test_another_size_under_the_same_tag_is_a_change(self, server):
        with source.open(server.url) as file:
            server.becomes(DATA + b"more", '"one"')
            with pytest.raises(SourceError, match="changed"):
                file.read(*SLICE)

    @pytest.mark.parametrize("tag", ["ETag", "Last_Modified"])
    def test_a_tag_that_is_gone_is_a_change(self, server, tag):
        with source.open(server.url) as file:
            server.does(stated(**{tag: ""}))
            with pytest.raises(SourceError, match="changed"):
                file.read(*SLICE)

    def test_the_time_counts_where_there_is_no_tag(self, server):
        server.does(stated(ETag=""))
        with source.open(server.url) as file:
            assert file.version == "Mon, 23 Nov 2026 08:00:00 GMT"
            server.listener.modified = "Mon, 23 Nov 2026 08:00:01 GMT"
            with pytest.raises(SourceError, match="changed"):
                file.read(*SLICE)


class TestSecrets:
    @pytest.mark.parametrize(
        "behaviour", [*(wrong for wrong, _ in WRONG.values()), drop, short, status(503)]
    )
    def test_no_error_shows_them(self, server, naps, behaviour):
        server.does(behaviour)
        with pytest.raises(SourceError) as caught:
            source.open(self.url(server))
        self.is_clean("".join(traceback.format_exception(caught.value)), repr(caught.value))
        assert server.requests[0].target == f"{PATH}?sig=s3cr3t"

    def test_no_name_shows_them(self, server):
        with source.open(self.url(server)) as file:
            self.is_clean(file.name, repr(file), repr(file._start), file.version)
            server.becomes(DATA)
            with pytest.raises(SourceError) as caught:
                file.read(*SLICE)
            self.is_clean(str(caught.value))
        assert server.requests[0].target == f"{PATH}?sig=s3cr3t"

    @pytest.mark.parametrize(
        "url",
        [
            "http://user:hunter2@host:s3cr3t/x",
            "http://user:hunter2@[::1/x?s3cr3t",
            "http://user:hunter2@/x?s3cr3t",
            "http://user:hunter2@" + "x" * 70 + ".example/x?s3cr3t",
        ],
    )
    def test_no_usage_error_shows_them(self, url):
        with pytest.raises(UsageError) as caught:
            source.open(url)
        self.is_clean("".join(traceback.format_exception(caught.value)))

    @staticmethod
    def url(server):
        return f"http://user:hunter2@{server.authority}{PATH}?sig=s3cr3t"

    @staticmethod
    def is_clean(*texts):
        for text in texts:
            assert "hunter2" not in text
            assert "s3cr3t" not in text
            assert base64.b64encode(b"user:hunter2").decode() not in text


def test_a_stream_over_it_reads_all(server):
    with source.open(server.url) as file, source.Buffered(file, block=8192) as buffered:
        assert io.BytesIO(buffered.file().read()).getvalue() == DATA

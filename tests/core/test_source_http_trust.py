"""Files on web servers: whom to trust with what, on redirects, certificates and proxies."""

import base64

import pytest
from doubles.http import (
    DATA,
    EXPECTED,
    PATH,
    SLICE,
    FileServer,
    certificate,
    ranges,
    redirect,
    status,
)

from torchkeep.core import source
from torchkeep.core.errors import SourceError
from torchkeep.core.source.address import follow, parse


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls") / "server.pem")


class TestRedirects:
    def test_it_is_followed_once_and_remembered(self, server):
        server.does(redirect("/other?sig=s3cr3t", 307), ranges)
        with source.open(server.url) as file:
            assert file.name == server.url
            assert file.read(*SLICE) == EXPECTED
        assert [seen.target for seen in server.requests] == [
            PATH,
            "/other?sig=s3cr3t",
            "/other?sig=s3cr3t",
        ]

    def test_an_expired_target_is_asked_for_anew(self, server):
        server.does(redirect("/one"), ranges, status(403), redirect("/two"), ranges)
        with source.open(server.url) as file:
            assert file.read(*SLICE) == EXPECTED
        assert [seen.target for seen in server.requests] == [PATH, "/one", "/one", PATH, "/two"]

    def test_a_password_goes_to_its_own_server_only(self, server):
        with FileServer(DATA) as other:
            server.does(redirect("/same"), redirect(other.url))
            with source.open(f"http://user:p%40ss@{server.authority}{PATH}"):
                basic = f"Basic {base64.b64encode(b'user:p@ss').decode()}"
                assert [seen.headers["Authorization"] for seen in server.requests] == [basic] * 2
                assert [seen.headers["Authorization"] for seen in other.requests] == [None]

    def test_https_never_becomes_http(self, server, pem, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        with FileServer(DATA, pem=pem) as secure:
            secure.does(redirect(server.url))
            with pytest.raises(SourceError, match="it leads from https to http"):
                source.open(secure.url)
        assert server.requests == []

    @pytest.mark.parametrize(
        ("location", "expected"),
        [
            ("/x?y", "https://host/x?y"),
            ("x", "https://host/a/x"),
            ("//other/x", "https://other/x"),
            ("//[::1]:8080/x", "https://[::1]:8080/x"),
            ("HTTPS://HOST:8443/", "https://host:8443/"),
            ("x y/\xc3\xa9", "https://host/a/x%20y/%C3%A9"),
        ],
    )
    def test_where_it_leads(self, location, expected):
        assert follow(parse("https://host/a/b?q"), location).url == expected

    @pytest.mark.parametrize(
        "location",
        [
            "http://host/a",
            "file:///etc/passwd",
            "ftp://host/x",
            "data:,x",
            "javascript:x",
            "gopher:",
        ],
    )
    def test_where_it_does_not_lead(self, location):
        with pytest.raises(ValueError, match=r"it leads from https|is neither http nor https"):
            follow(parse("https://host/a/b?q"), location)

    @pytest.mark.parametrize(
        ("location", "kept"),
        [
            ("/x", True),
            ("https://host:443/x", True),
            ("https://host:444/x", False),
            ("https://host.evil.example/x", False),
            ("https://sub.host/x", False),
        ],
    )
    def test_whom_a_password_is_shown(self, location, kept):
        address = follow(parse("https://user:hunter2@host/a"), location)
        assert bool(address.authorization) == kept


class TestTls:
    def test_a_certificate_that_is_trusted(self, pem, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        with FileServer(DATA, pem=pem) as server, source.open(server.url) as file:
            assert file.name.startswith("https://")
            for _ in range(3):
                assert file.read(*SLICE) == EXPECTED
        assert server.connections == 1

    def test_one_that_is_not(self, pem, naps):
        with (
            FileServer(DATA, pem=pem) as server,
            pytest.raises(SourceError, match="certificate is not trusted"),
        ):
            source.open(server.url)
        assert server.requests == []
        assert naps == []

    def test_one_of_another_server(self, tmp_path, monkeypatch):
        pem = certificate(tmp_path / "other.pem", names=["other.example"])
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        with (
            FileServer(DATA, pem=pem) as server,
            pytest.raises(SourceError, match=r"not trusted.*localhost"),
        ):
            source.open(server.url.replace("127.0.0.1", "localhost"))


class TestProxies:
    def test_a_proxy_is_asked_for_the_whole_url(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://me:hunter2@{server.authority}")
        with source.open("http://user:pw@files.example/data?sig=1") as file:
            assert file.read(*SLICE) == EXPECTED
        assert server.connections == 1
        for seen in server.requests:
            assert seen.target == "http://files.example/data?sig=1"
            assert seen.headers["Host"] == "files.example"
            assert seen.headers["Proxy-Authorization"].startswith("Basic ")

    def test_https_goes_through_a_tunnel(self, pem, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        with FileServer(DATA, pem=pem, tunnel=True) as proxy:
            monkeypatch.setenv("https_proxy", f"me:hunter2@{proxy.authority}")
            with source.open("https://user:pw@files.example/data") as file:
                assert file.read(*SLICE) == EXPECTED
        tunnel, *inside = proxy.requests
        assert tunnel.target == "files.example:443"
        assert tunnel.headers["Proxy-Authorization"]
        assert tunnel.headers["Authorization"] is None
        assert [seen.target for seen in inside] == ["/data", "/data"]
        assert all(seen.headers["Proxy-Authorization"] is None for seen in inside)

    def test_no_proxy_is_heeded(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with source.open(server.url) as file:
            assert file.read(*SLICE) == EXPECTED

    @pytest.mark.parametrize("proxy", ["socks5://me:hunter2@127.0.0.1:1", "https://127.0.0.1:1"])
    def test_another_kind_of_proxy_is_named(self, monkeypatch, proxy):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(SourceError, match="http_proxy is no http:// URL") as caught:
            source.open("http://files.example/data")
        assert "hunter2" not in str(caught.value)

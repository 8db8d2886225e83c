"""Keys of the AWS Key Management Service, as moto plays it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from torchkeep.core.errors import Incomplete, MissingExtra, Refused, UsageError
from torchkeep.vault import opening, providers, sealing
from torchkeep.vault.blocks import Stanza
from torchkeep.vault.manifest import Policy
from torchkeep.vault.providers import kms
from torchkeep.vault.recipients import SecretKey

boto3 = pytest.importorskip("boto3", reason="the key service needs the extra: torchkeep[kms]")
moto = pytest.importorskip("moto.server", reason="the double of the key service needs moto[server]")

FILE_KEY, HEADER = bytes(range(32)), b"h" * 32
ARN = "arn:aws:kms:us-east-1:123456789012:key/"
ID = "0a1b2c3d-0000-1111-2222-333344445555"


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, str]]:
    """Ids of two keys, in a service that the environment names."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", url)
            patch.setenv("AWS_ACCESS_KEY_ID", "someone")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
            client = boto3.client("kms", region_name="us-east-1")
            made = {n: client.create_key()["KeyMetadata"]["KeyId"] for n in ("own", "other")}
            client.close()
            yield made
    finally:
        server.stop()


def named(service: dict[str, str], name: str = "own") -> str:
    return f"aws-kms:{service[name]}?region=us-east-1"


def test_what_the_service_wraps_it_unwraps(service):
    text = named(service)
    provider = providers.find(text)
    recipient, identity = provider.recipient(text), provider.identity(text)
    assert (recipient.type, recipient.is_alone, recipient.is_post_quantum) == (
        "aws-kms",
        False,
        True,
    )
    stanza = recipient.wrap(FILE_KEY, HEADER)
    assert (stanza.type, stanza.body[:10]) == ("aws-kms", b"\x09symmetric")
    assert identity.unwrap(stanza, HEADER) == FILE_KEY
    assert FILE_KEY not in stanza.body


def test_a_stanza_is_for_one_file_and_one_key(service):
    identity, other = kms.identity(named(service)), kms.identity(named(service, "other"))
    stanza = kms.recipient(named(service)).wrap(FILE_KEY, HEADER)
    assert identity.unwrap(stanza, b"g" * 32) is None  # the context of another file
    assert other.unwrap(stanza, HEADER) is None
    moved = stanza.body[:10] + other.id + stanza.body[42:]
    with pytest.raises(Refused):  # the service of this test says so; AWS, that it is another key's
        other.unwrap(Stanza("aws-kms", moved), HEADER)
    for body in (
        *(stanza.body[:-1], stanza.body[:42], stanza.body[:10], b"", b"\x09symmetriC"),
        *(stanza.body[:-1] + bytes([stanza.body[-1] ^ 1]), stanza.body + bytes(7000)),
    ):
        assert identity.unwrap(Stanza("aws-kms", body), HEADER) is None
    assert identity.unwrap(Stanza("pkcs11", stanza.body), HEADER) is None


def test_a_key_has_one_id_in_every_spelling(service):
    ids = {kms.recipient(named(service)).id, kms.recipient(f"kms:{ARN}{service['own']}").id}
    assert ids == {kms.identity(f"aws-kms:{ARN}{service['own']}").recipient_id}
    assert kms.recipient(named(service, "other")).id not in ids


def test_a_file_for_the_service_opens_with_it(service, tmp_path):
    (tmp_path / "x").write_bytes(b"weights")
    recipients = [kms.recipient(named(service)), kms.recipient(named(service, "other"))]
    pinned = Policy(recipients=tuple(sorted(one.id for one in recipients)))
    sealing.seal(tmp_path / "x", tmp_path / "x.tks", recipients, policy=pinned)
    spare = SecretKey.generate()[0]
    for name in ("own", "other"):
        text = f"kms:{ARN}{service[name]}"
        with opening.open(tmp_path / "x.tks", [spare, kms.identity(text)]) as sealed:
            assert bytes(sealed.bytes_of(sealed.layouts[0], 0)) == b"weights"


# What is wrong is said in one line.


@pytest.mark.parametrize(
    "text",
    [
        *("kms:", "kms:x", f"kms:{ID}", f"aws-kms:{ID}", f"aws-kms:{ID}?region="),
        "aws-kms:alias/models?region=us-east-1",
        "kms:arn:aws:kms:us-east-1:123456789012:alias/models",
        f"kms:arn:aws:s3:us-east-1:123456789012:key/{ID}",
        f"kms:{ARN}{ID}?region=us-east-1",
        f"aws-kms:{ID}?region=us-east-1&profile=x",
        f"aws-kms:{ID}?region=evil.example/",
    ],
)
def test_a_name_that_is_none(text):
    with pytest.raises(UsageError, match="names no key of the service"):
        kms.recipient(text)


def test_a_key_that_is_not_there(service):
    with pytest.raises(UsageError, match="has no key"):
        kms.recipient(f"kms:{ARN}{ID}").wrap(FILE_KEY, HEADER)


FAULTS = [
    ("DisabledException", Refused, r"refuses to use .* \(DisabledException\)"),
    ("AccessDeniedException", Refused, r"refuses to use .* \(AccessDeniedException\)"),
    ("ThrottlingException", Incomplete, "is busy"),
    ("\x1b[2J", Refused, r"\(\\x1b\[2J\)"),
]


@pytest.mark.parametrize(("code", "error", "match"), FAULTS)
@pytest.mark.parametrize("verb", ["wrap", "unwrap"])
def test_what_the_service_answers(monkeypatch, code, error, match, verb):
    monkeypatch.setattr(kms, "_client", lambda _: Answering(code))
    key = kms.recipient(f"kms:{ARN}{ID}")
    given = FILE_KEY if verb == "wrap" else Stanza("aws-kms", b"\x09symmetric" + key.id + b"x")
    with pytest.raises(error, match=match):
        getattr(key, verb)(given, HEADER)


def test_to_wrap_is_never_to_be_of_another_kind(monkeypatch):
    monkeypatch.setattr(kms, "_client", lambda _: Answering("InvalidCiphertextException"))
    with pytest.raises(Refused, match="InvalidCiphertextException"):
        kms.recipient(f"kms:{ARN}{ID}").wrap(FILE_KEY, HEADER)


def test_a_key_of_another_length_is_none(monkeypatch):
    monkeypatch.setattr(kms, "_client", lambda _: Answering("", {"Plaintext": bytes(16)}))
    key = kms.identity(f"kms:{ARN}{ID}")
    assert key.unwrap(Stanza("aws-kms", b"\x09symmetric" + key.id + b"x"), HEADER) is None


@pytest.mark.parametrize("rest", [b"", bytes(6145)])
def test_the_service_is_not_asked_for_what_it_cannot_answer(monkeypatch, rest):
    monkeypatch.setattr(kms, "_client", lambda _: Answering("AccessDeniedException"))
    key = kms.identity(f"kms:{ARN}{ID}")
    assert key.unwrap(Stanza("aws-kms", b"\x09symmetric" + key.id + rest), HEADER) is None


class Answering:
    """A client whose service answers with a code, or with ``said``."""

    def __init__(self, code: str, said: dict | None = None):
        self.code, self.said = code, said

    def encrypt(self, **_arguments):
        from botocore.exceptions import ClientError

        if self.said is not None:
            return self.said
        raise ClientError({"Error": {"Code": self.code, "Message": "secret"}}, "Encrypt")

    decrypt = encrypt

    def close(self):
        pass


def test_no_service(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with pytest.raises(Incomplete, match=r"does not answer \(EndpointConnectionError\)"):
        kms.recipient(f"kms:{ARN}{ID}").wrap(FILE_KEY, HEADER)


def test_no_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="no credentials"):
        kms.recipient(f"kms:{ARN}{ID}").wrap(FILE_KEY, HEADER)


def test_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtra, match=r"torchkeep\[kms\]"):
        kms.recipient(f"kms:{ARN}{ID}")

"""``core.dsse``: the bytes of an envelope, as its specification has them."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from doubles.mutants import killed
from doubles.spoil import dumps, put, spoiled, spoiled_bytes
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import dsse
from torchkeep.core.dsse import Envelope, Signature
from torchkeep.core.errors import Foreign

# The example of the specification (protocol.md, "Test vectors"), with its public key.
EXAMPLE = b"""{
  "payload": "aGVsbG8gd29ybGQ=",
  "payloadType": "http://example.com/HelloWorld",
  "signatures": [{"sig":
   "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]
}"""
KEY = ec.EllipticCurvePublicNumbers(
    46950820868899156662930047687818585632848591499744589407958293238635476079160,
    5640078356564379163099075877009565129882514886557779369047442380624545832820,
    ec.SECP256R1(),
).public_key()
DOCUMENT = json.loads(EXAMPLE)

envelopes = st.builds(
    Envelope,
    st.text(),
    st.binary(),
    st.lists(st.builds(Signature, st.text(), st.binary())).map(tuple),
)


def check_vectors():
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    # Lengths are of bytes, and there are no zeros in front of them.
    assert dsse.pae("类型", b"") == b"DSSEv1 6 " + "类型".encode() + b" 0 "
    assert dsse.pae("", b"\xff" * 3) == b"DSSEv1 0  3 \xff\xff\xff"


def check_the_signature_of_the_specification():
    envelope = Envelope.from_bytes(EXAMPLE)
    r, s = (int.from_bytes(envelope.signatures[0].sig[at : at + 32]) for at in (0, 32))
    KEY.verify(utils.encode_dss_signature(r, s), envelope.signed_bytes, ec.ECDSA(SHA256()))


def test_vectors():
    check_vectors()


def test_the_signature_of_the_specification_verifies():
    check_the_signature_of_the_specification()


@pytest.mark.parametrize(
    "mutant",
    [
        lambda kind, payload: payload,
        lambda kind, payload: (
            b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        ),
        lambda kind, payload: b"DSSEv1 %b %b" % (kind.encode(), payload),
        lambda kind, payload: b"DSSEv1 %d %b %b" % (len(kind.encode()), kind.encode(), payload),
        lambda kind, payload: (
            b"DSSEv1 %d %b %d %b" % (len(payload), kind.encode(), len(kind.encode()), payload)
        ),
    ],
    ids=["payload alone", "characters counted", "no lengths", "one length", "lengths swapped"],
)
def test_mutants_of_the_encoding_die(monkeypatch, mutant):
    checks = (check_vectors, check_the_signature_of_the_specification)
    assert killed(monkeypatch, dsse, "pae", mutant, *checks)


@given(st.text(), st.binary(), st.text(), st.binary())
def test_no_two_payloads_are_signed_alike(kind, payload, other_kind, other):
    if (kind, payload) != (other_kind, other):
        assert dsse.pae(kind, payload) != dsse.pae(other_kind, other)


@given(envelopes)
def test_an_envelope_is_read_as_it_was_written(envelope):
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope


@given(st.binary(min_size=1))
def test_both_alphabets_are_read(payload):
    spelled = base64.urlsafe_b64encode(payload).decode()
    assert Envelope.from_bytes(dumps(put(DOCUMENT, ("payload",), spelled))).payload == payload


def test_a_hint_at_the_key_is_kept_and_may_be_absent():
    assert Envelope.from_bytes(EXAMPLE).signatures[0].keyid == ""
    hinted = put(DOCUMENT, ("signatures", 0, "keyid"), "release")
    assert Envelope.from_bytes(dumps(hinted)).signatures[0].keyid == "release"


REFUSED = {
    "nothing": b"",
    "no object": b"[]",
    "no type": dumps({"payload": "", "signatures": []}),
    "no payload": dumps({"payloadType": "", "signatures": []}),
    "no list of signatures": dumps({"payloadType": "", "payload": ""}),
    "no signature in it": dumps(put(DOCUMENT, ("signatures", 0), {"keyid": "x"})),
    "signatures as text": dumps(put(DOCUMENT, ("signatures",), "")),
    "signatures as a table": dumps(put(DOCUMENT, ("signatures",), {})),
    "signatures as nothing": dumps(put(DOCUMENT, ("signatures",), None)),
    "a type of numbers": dumps(put(DOCUMENT, ("payloadType",), 1)),
    "half a character in the type": dumps(put(DOCUMENT, ("payloadType",), "\ud800")),
    "no base64": dumps(put(DOCUMENT, ("payload",), "aGk*")),
    "no padding": dumps(put(DOCUMENT, ("payload",), "aGk")),
    "letters that are none": dumps(put(DOCUMENT, ("payload",), "aGkｅ")),
    "a line break in base64": dumps(put(DOCUMENT, ("payload",), "aG\nk=")),
    "a payload of bytes": dumps(put(DOCUMENT, ("payload",), [104])),
    "a hint that is no text": dumps(put(DOCUMENT, ("signatures", 0, "keyid"), 1)),
    "two payloads": EXAMPLE.replace(b"{\n", b'{ "payload": "", ', 1),
    "UTF-16": EXAMPLE.decode().encode("utf-16"),
    "too deep": b'{"payload":' * 50_000,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_envelope_is_foreign(data):
    with pytest.raises(Foreign, match="not a DSSE envelope: expected JSON with payloadType"):
        Envelope.from_bytes(data)


@given(st.binary() | spoiled_bytes(EXAMPLE) | spoiled(DOCUMENT).map(dumps))
def test_damage_is_foreign_or_an_envelope(data):
    try:
        envelope = Envelope.from_bytes(data)
    except Foreign:
        return
    assert envelope.signed_bytes
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope

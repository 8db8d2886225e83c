"""``core.statement``: in-toto statements that others can read, and no others taken for ours."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from doubles.mutants import killed
from doubles.spoil import dumps, put, spoiled, spoiled_bytes, without
from hypothesis import given
from hypothesis import strategies as st

from torchkeep import __version__
from torchkeep.core import actor, statement
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Foreign
from torchkeep.core.statement import (
    KINDS,
    PAYLOAD_TYPE,
    REPOSITORY,
    Statement,
    Subject,
    derivation,
    state,
)

SHA, CONTENT = "a" * 64, "b" * 64
SUBJECT = Subject("m.safetensors", SHA, CONTENT)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def made(kind="scan", result=None, **options):
    return state(
        kind, [SUBJECT], {"verdict": "clean"} if result is None else result, started=NOON, **options
    )


def document(said=None):
    """The JSON inside of an envelope, as another tool would read it."""
    return json.loads((said or made()).envelope().payload)


def read(data, payload_type=PAYLOAD_TYPE):
    return Statement.from_envelope(Envelope(payload_type, dumps(data)))


def test_it_is_an_in_toto_statement_v1():
    said = document(made("robustness", argv=["torchkeep", "robust"], seed=7, inputs={"test": SHA}))
    assert said.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["subject"] == [
        {"name": "m.safetensors", "digest": {"sha256": SHA, "content": CONTENT}}
    ]
    assert said["predicateType"] == f"{REPOSITORY}/robustness/v1"
    assert made().envelope().payload_type == "application/vnd.in-toto+json"
    assert made().envelope().signatures == ()


def test_the_predicate_says_who_did_what_when_and_with_what():
    with actor.acting_as(actor.Actor("anna", authenticated=True)):
        said = document(
            made(
                argv=("torchkeep", "scan", "m\udcff"),
                seed=7,
                inputs={"policy\udcff": SHA},
                not_measured=("x",),
            )
        )["predicate"]
    assert list(said) == sorted(said)
    started, finished = (datetime.fromisoformat(said.pop(name)) for name in ("started", "finished"))
    assert started == NOON < finished <= datetime.now(UTC)
    assert {"python", "platform"} <= said.pop("environment").keys()
    assert said == {
        "schema_version": 1,
        "tool": {"name": "torchkeep", "version": __version__},
        "argv": ["torchkeep", "scan", "m\\udcff"],
        "actor": "anna",
        "seed": 7,
        "inputs": {"policy\\udcff": SHA},
        "result": {"verdict": "clean"},
        "not_measured": ["x"],
    }


def test_the_page_of_kinds_is_the_one_of_the_design():
    assert len(set(KINDS)) == len(KINDS)
    for kind in KINDS:
        assert read(document(made(kind))).kind == kind


def test_a_subject_without_weights_has_one_digest():
    subject = Subject("census.csv", SHA)
    assert subject.digests == {SHA}
    assert subject.to_json() == {"name": "census.csv", "digest": {"sha256": SHA}}
    assert SUBJECT.digests == {SHA, CONTENT}


def test_a_name_of_stray_bytes_can_be_read_by_others():
    said = Statement(kind="scan", subjects=(Subject("m\udcff", SHA),), predicate=made().predicate)
    assert document(said)["subject"][0]["name"] == "m\\udcff"


@given(
    st.sampled_from(KINDS),
    st.lists(
        st.tuples(st.text(), st.sampled_from([SHA, CONTENT]), st.none() | st.just(SHA)), min_size=1
    ),
    st.dictionaries(st.text(), json_values),
    st.integers() | st.none(),
    st.lists(st.text()),
)
def test_what_was_said_is_what_is_read(kind, subjects, result, seed, argv):
    named = [Subject(*subject) for subject in subjects]
    said = state(kind, named, result, started=NOON, argv=argv, seed=seed)
    again = Statement.from_envelope(Envelope.from_bytes(said.envelope().to_bytes()))
    assert again == said
    assert again.result == said.result
    assert again.finished == said.finished


def test_a_result_of_any_numbers_and_names_can_be_kept():
    said = made(result={"epsilon": math.inf, "loss": [math.nan], "file": "a\udcff", "pair": (1, 2)})
    assert read(document(said)) == said
    assert said.result == {"epsilon": "inf", "loss": ["nan"], "file": "a\\udcff", "pair": [1, 2]}


def test_a_predicate_made_by_hand_with_what_json_lacks_is_no_statement():
    predicate = dict(made().predicate) | {"result": {"loss": math.nan}}
    with pytest.raises(ValueError, match="JSON compliant"):
        Statement(kind="scan", subjects=(SUBJECT,), predicate=predicate).envelope()


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        (UTC, "2026-06-01T12:00:00+00:00"),
        (timezone(timedelta(hours=8)), "2026-06-01T20:00:00+08:00"),
        (timezone(-timedelta(hours=9, minutes=30)), "2026-06-01T02:30:00-09:30"),
    ],
)
def test_times_are_of_one_zone_whatever_was_written(zone, text):
    said = read(put(document(), ("predicate", "finished"), text))
    assert said.finished == NOON
    assert said.finished.tzinfo is UTC
    assert NOON.astimezone(zone).isoformat() == text


def test_a_start_in_another_zone_is_written_in_utc():
    started = NOON.astimezone(timezone(timedelta(hours=8)))
    said = state("scan", [SUBJECT], {}, started=started)
    assert said.predicate["started"] == NOON.isoformat()


@pytest.mark.parametrize("kind", ["", "nonsense", "Scan", "scan/v1", "../scan"])
def test_an_unknown_kind_cannot_be_stated(kind):
    with pytest.raises(ValueError, match="known kind"):
        made(kind)


def test_nothing_can_be_stated_about_nothing():
    with pytest.raises(ValueError, match="a subject"):
        state("scan", [], {}, started=NOON)


@pytest.mark.parametrize(
    "digest", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "ａ" * 64]
)
def test_a_digest_is_64_lower_case_hexadecimal_digits(digest):
    with pytest.raises(ValueError, match="SHA-256"):
        Subject("m", digest)
    with pytest.raises(ValueError, match="SHA-256"):
        Subject("m", SHA, digest)


def test_a_derivation_names_both_ends():
    source = Subject("a.pt", "c" * 64, CONTENT)
    said = derivation(source, SUBJECT, "convert", {"dtype": "F16"})
    assert said.kind == "derivation"
    assert said.subjects == (SUBJECT,)
    assert said.result == {
        "from": source.to_json(),
        "to": SUBJECT.to_json(),
        "verb": "convert",
        "settings": {"dtype": "F16"},
    }


FIRST = ("subject", 0)
REFUSED = {
    "another type": put(document(), ("_type",), "https://in-toto.io/Statement/v0.1"),
    "no type": without(document(), ("_type",)),
    "no predicate type": without(document(), ("predicateType",)),
    "a predicate type without its owner": put(document(), ("predicateType",), "scan/v1"),
    "one of somebody else": put(
        document(), ("predicateType",), f"https://example.com/{REPOSITORY}/scan/v1"
    ),
    "one below another name": put(document(), ("predicateType",), f"{REPOSITORY}-evil/scan/v1"),
    "one behind ours": put(document(), ("predicateType",), f"{REPOSITORY}/scan/v1/v1"),
    "an unknown kind": put(document(), ("predicateType",), f"{REPOSITORY}/nonsense/v1"),
    "another version": put(document(), ("predicateType",), f"{REPOSITORY}/scan/v2"),
    "no version": put(document(), ("predicateType",), f"{REPOSITORY}/scan"),
    "a predicate type of numbers": put(document(), ("predicateType",), 1),
    "no subject": put(document(), ("subject",), []),
    "one subject without a list": put(document(), ("subject",), document()["subject"][0]),
    "a subject that is text": put(document(), FIRST, SHA),
    "a subject without digests": without(document(), (*FIRST, "digest")),
    "a subject without sha256": without(document(), (*FIRST, "digest", "sha256")),
    "an empty digest": put(document(), (*FIRST, "digest", "sha256"), ""),
    "a short digest": put(document(), (*FIRST, "digest", "sha256"), "ab"),
    "a digest in capitals": put(document(), (*FIRST, "digest", "sha256"), "A" * 64),
    "a digest that is no text": put(document(), (*FIRST, "digest", "sha256"), 10**63),
    "a content of another form": put(document(), (*FIRST, "digest", "content"), "x"),
    "an empty content": put(document(), (*FIRST, "digest", "content"), ""),
    "a content that is false": put(document(), (*FIRST, "digest", "content"), False),
    "a name that is no text": put(document(), (*FIRST, "name"), {"a": 1}),
    "no predicate": without(document(), ("predicate",)),
    "a predicate of pairs": put(
        document(), ("predicate",), [list(pair) for pair in document()["predicate"].items()]
    ),
    "no result": without(document(), ("predicate", "result")),
    "a result that is a list": put(document(), ("predicate", "result"), []),
    "a result of pairs": put(document(), ("predicate", "result"), [["verb", "seal"]]),
    "a result that is text": put(document(), ("predicate", "result"), ""),
    "no time": without(document(), ("predicate", "finished")),
    "a time without zone": put(document(), ("predicate", "finished"), "2026-06-01T12:00:00"),
    "a day": put(document(), ("predicate", "finished"), "2026-06-01"),
    "a number as time": put(document(), ("predicate", "finished"), 1780315200),
    "a time before all time": put(
        document(), ("predicate", "finished"), "0001-01-01T00:00:00+23:59"
    ),
    "a time after all time": put(
        document(), ("predicate", "finished"), "9999-12-31T23:59:59-23:59"
    ),
    "a list": [],
    "nothing": None,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_statement_of_ours_is_foreign(data):
    with pytest.raises(
        Foreign, match="not a torchkeep statement: expected an in-toto Statement v1"
    ):
        read(data)


@pytest.mark.parametrize(
    "payload_type", ["", "application/json", "application/vnd.in-toto+json; charset=utf-8"]
)
def test_another_payload_type_is_foreign(payload_type):
    with pytest.raises(Foreign):
        read(document(), payload_type)


def test_a_predicate_that_says_two_things_is_foreign():
    payload = (
        made().envelope().payload.replace(b'"result":', b'"result": {"verdict": "x"}, "result":')
    )
    with pytest.raises(Foreign):
        Statement.from_envelope(Envelope(PAYLOAD_TYPE, payload))


PAYLOAD = made().envelope().payload


@given(st.binary() | spoiled_bytes(PAYLOAD) | spoiled(document()).map(dumps))
def test_damage_is_foreign_or_a_statement(data):
    """And a statement that was read can be used and kept again, whatever it says."""
    try:
        said = Statement.from_envelope(Envelope(PAYLOAD_TYPE, data))
    except Foreign:
        return
    assert said.finished.tzinfo is UTC
    assert all(len(digest) == 64 for subject in said.subjects for digest in subject.digests)
    assert isinstance(dict(said.result), dict)
    assert Statement.from_envelope(said.envelope()).subjects


def loose_kind(predicate_type):
    """A mutant: the prefix is looked for anywhere, or nowhere."""
    prefix, _, rest = predicate_type.rpartition(f"{REPOSITORY}/")
    kind, _, version = rest.partition("/")
    if prefix or version != "v1":
        raise ValueError(predicate_type)
    return kind


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (statement, "_kind", loose_kind),
        (statement, "_kind", lambda text: text.split("/")[-2]),
        (statement, "_SHA256", __import__("re").compile(".*")),
        (statement, "_SHA256", __import__("re").compile("[0-9a-fA-F]{64}")),
        (statement, "REPOSITORY", "https://github.com/torchkeep/torchkeep-evil"),
        (statement.strict, "loads", json.loads),
    ],
)
def test_mutants_die(monkeypatch, owner, name, mutant):
    def check():
        for data in REFUSED.values():
            with pytest.raises(Foreign):
                read(data)
        test_a_predicate_that_says_two_things_is_foreign()

    assert killed(monkeypatch, owner, name, mutant, check, test_it_is_an_in_toto_statement_v1)


def test_the_version_of_torch_is_named_where_it_is_loaded(monkeypatch):
    class Torch:
        __version__ = "2.13.0"

    monkeypatch.setitem(statement.sys.modules, "torch", Torch())
    assert statement.environment()["torch"] == "2.13.0"
    monkeypatch.delitem(statement.sys.modules, "torch")
    assert "torch" not in statement.environment()


def test_statements_can_be_compared_and_counted():
    said = made()
    assert len({said, read(document(said)), made(result={"verdict": "dangerous"})}) == 2

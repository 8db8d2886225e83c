"""``core.evidence``: which statements speak about given bytes, and how far they are trusted."""

import hashlib
import itertools
import json
import os
import secrets
from datetime import UTC, datetime, timedelta, timezone

import pytest
from doubles.mutants import killed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchkeep.core import evidence
from torchkeep.core.dsse import Envelope, Signature
from torchkeep.core.errors import Foreign, UsageError
from torchkeep.core.evidence import SUFFIX, Evidence, Statements, Trust
from torchkeep.core.statement import KINDS, Statement, Subject

# What a verb leaves standing, once more and in other words than in the source.
CARRIES = {
    "seal": set(KINDS),
    **{verb: set(KINDS) - {"scan"} for verb in ("convert", "scrub")},
    **{verb: {"dp-training", "deid"} for verb in ("mark", "gauge", "structure")},
    **{verb: set() for verb in ("harden", "obfuscate", "deid", "quantise", "", "Seal", "seal ")},
}
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def sha(name):
    return hashlib.sha256(name.encode()).hexdigest()


def subject(name, content=None):
    return Subject(name, sha(name), content and sha(content))


def said(kind, about, *, hour=0, result=None):
    predicate = {"result": result or {}, "finished": (NOON + timedelta(hours=hour)).isoformat()}
    return Statement(kind=kind, subjects=(about,), predicate=predicate)


def step(source, target, verb, *, hour=0):
    result = {"from": source.to_json(), "to": target.to_json(), "verb": verb}
    return said("derivation", target, hour=hour, result=result)


def by_keyid(envelope, _statement):
    """Trust as it is written into the hint at the key."""
    return Trust(envelope.signatures[0].keyid) if envelope.signatures else Trust.UNSIGNED


class Shelf:
    """Statements in a folder, put there with the trust that they shall have."""

    def __init__(self, folder):
        self.statements = Statements(folder, by_keyid)

    def put(self, statement, trust=Trust.UNSIGNED):
        bare = statement.envelope()
        signatures = () if trust is Trust.UNSIGNED else (Signature(trust.value, b"x"),)
        signed = Envelope(bare.payload_type, bare.payload, signatures)
        return self.statements.add(statement, signed)

    def find(self, kind, about):
        return self.statements.evidence(kind, about)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "statements")


A, B, C, D = (subject(name) for name in "abcd")


# What is found at all.


def test_nothing_is_known_where_nothing_was_said(shelf):
    assert shelf.find("scan", A) is None
    assert shelf.statements.count() == 0
    assert list(shelf.statements.damaged()) == []
    shelf.put(said("leakage", A))
    assert shelf.find("robustness", A) is None
    assert shelf.find("leakage", B) is None


def test_what_was_said_is_found_by_its_bytes_or_its_weights(shelf):
    path = shelf.put(said("leakage", subject("a.pt", "weights")))
    for about in (subject("a.pt"), subject("a.safetensors", "weights"), subject("a.pt", "others")):
        found = shelf.find("leakage", about)
        assert (found.path, found.trust, found.via) == (path, Trust.UNSIGNED, ())


def test_bytes_that_have_changed_since_are_not_spoken_of(shelf):
    shelf.put(said("leakage", subject("a.pt", "weights")))
    assert shelf.find("leakage", subject("a.pt, changed", "weights, changed")) is None


def test_a_name_says_nothing(shelf):
    shelf.put(said("scan", A))
    assert shelf.find("scan", Subject(A.name, sha("other bytes"))) is None


def test_a_statement_about_many_files_speaks_of_each(shelf):
    both = Statement(kind="scan", subjects=(A, B), predicate=said("scan", A).predicate)
    shelf.put(both)
    assert shelf.find("scan", A).statement == shelf.find("scan", B).statement == both
    assert shelf.find("scan", C) is None


def test_the_most_trusted_is_found_and_of_these_the_newest(shelf):
    for trust in (Trust.TRUSTED, Trust.UNSIGNED, Trust.UNTRUSTED):
        for hour in (2, 5, 3):
            lead = {Trust.TRUSTED: 0, Trust.UNTRUSTED: 10, Trust.UNSIGNED: 20}[trust]
            shelf.put(said("scan", A, hour=hour + lead), trust)
    found = shelf.find("scan", A)
    assert (found.trust, found.statement.finished) == (Trust.TRUSTED, NOON + timedelta(hours=5))


def test_newest_is_a_matter_of_moments_and_not_of_clocks(shelf):
    east = timezone(timedelta(hours=8))
    early = Statement(
        kind="scan",
        subjects=(A,),
        predicate={"result": {}, "finished": NOON.astimezone(east).isoformat()},
    )
    shelf.put(said("scan", A, hour=1))
    path = shelf.put(early)
    assert "-20260601T120000.000000Z-" in path.name
    assert shelf.find("scan", A).statement.finished == NOON + timedelta(hours=1)
    assert [item.statement.finished.hour for item in shelf.statements.all("scan")] == [12, 13]


# What speaks of bytes.


def test_a_scan_speaks_of_bytes_and_no_other_file_with_the_same_weights(shelf):
    """The planted fault: a pickle that runs code and holds the weights of a clean file."""
    clean, pickle = subject("clean.safetensors", "weights"), subject("evil.pt", "weights")
    shelf.put(said("scan", clean))
    shelf.put(said("leakage", clean))
    assert shelf.find("scan", clean) is not None
    assert shelf.find("scan", pickle) is None
    assert shelf.find("leakage", pickle) is not None


@pytest.mark.parametrize("about", ["a.pt", "a.safetensors"])
def test_a_scan_says_nothing_of_what_was_converted(shelf, about):
    pickle, converted = subject("a.pt", "weights"), subject("a.safetensors", "weights")
    shelf.put(step(pickle, converted, "convert"))
    shelf.put(said("scan", {"a.pt": pickle, "a.safetensors": converted}[about]))
    found = {one.name: shelf.find("scan", one) is not None for one in (pickle, converted)}
    assert found == {"a.pt": about == "a.pt", "a.safetensors": about == "a.safetensors"}


def test_a_scan_holds_for_the_bytes_that_a_seal_was_put_around(shelf):
    clean, pickle = subject("a.safetensors", "weights"), subject("evil.pt", "weights")
    shelf.put(said("scan", clean))
    shelf.put(step(clean, subject("a.tks", "weights"), "seal"))
    shelf.put(step(pickle, subject("b.tks", "weights"), "seal"))
    assert shelf.find("scan", subject("a.tks", "weights")).via == ("seal",)
    assert shelf.find("scan", subject("b.tks", "weights")) is None


# What a verb carries across.


@pytest.mark.parametrize("verb", CARRIES)
def test_what_a_verb_carries(shelf, verb):
    shelf.put(step(A, B, verb))
    for kind in KINDS:
        if kind != "derivation":
            shelf.put(said(kind, A))
    for kind in KINDS:
        found = shelf.find(kind, B)
        if kind == "derivation":
            assert found.statement.subjects == (B,)
        elif kind in CARRIES[verb]:
            assert found.via == (verb,)
            assert found.statement.subjects == (A,)
        else:
            assert found is None, kind


def test_the_table_of_verbs_holds_no_more():
    named = {verb for verb, kinds in CARRIES.items() if kinds}
    assert {verb: set(kinds) for verb, kinds in evidence.CARRIED.items()} == {
        verb: CARRIES[verb] for verb in named
    }


def test_nothing_goes_back_from_what_was_made(shelf):
    shelf.put(step(A, B, "seal"))
    shelf.put(said("leakage", B))
    assert shelf.find("leakage", A) is None


def test_a_chain_carries_what_every_verb_of_it_carries(shelf):
    shelf.put(step(A, B, "mark"))
    shelf.put(step(B, C, "convert"))
    shelf.put(step(C, D, "seal"))
    for kind in ("dp-training", "robustness"):
        shelf.put(said(kind, A))
    assert shelf.find("dp-training", D).via == ("seal", "convert", "mark")
    assert shelf.find("robustness", D) is None
    shelf.put(said("robustness", B))
    assert shelf.find("robustness", D).via == ("seal", "convert")


def test_a_derivation_leads_through_weights_that_are_the_same(shelf):
    """`a.pt` was converted, and the weights of the result lie in another file by now."""
    shelf.put(step(subject("a.pt", "w1"), subject("b.st", "w2"), "mark"))
    shelf.put(said("dp-training", subject("z.pt", "w1")))
    assert shelf.find("dp-training", subject("c.st", "w2")).via == ("mark",)


def test_the_shorter_way_is_told(shelf):
    shelf.put(step(A, B, "convert"))
    shelf.put(step(B, C, "seal"))
    shelf.put(step(A, C, "scrub"))
    shelf.put(said("robustness", A))
    assert shelf.find("robustness", C).via == ("scrub",)


@pytest.mark.parametrize("verb", ["seal", "convert"])
def test_circles_end(shelf, verb):
    for source, target in [(A, B), (B, C), (C, A), (A, A)]:
        shelf.put(step(source, target, verb))
    assert shelf.find("leakage", C) is None
    shelf.put(said("leakage", B))
    assert shelf.find("leakage", A).via == (verb, verb)


@pytest.mark.parametrize(
    "result",
    [
        {"verb": "seal"},
        {"verb": "seal", "from": None},
        {"verb": "seal", "from": "a"},
        {"verb": "seal", "from": {"digest": sha("a")}},
        {"verb": "seal", "from": {"digest": {"sha256": [sha("a")]}}},
        {"verb": "seal", "from": {"digest": {"sha256": {}}}},
        {"verb": ["seal"], "from": A.to_json()},
        {"verb": {"seal": 1}, "from": A.to_json()},
        {"from": A.to_json()},
        {},
    ],
)
def test_a_derivation_that_says_too_little_leads_nowhere(shelf, result):
    shelf.put(said("derivation", B, result=result))
    shelf.put(said("leakage", A))
    assert shelf.find("leakage", B) is None


def test_a_derivation_is_about_its_subject_whatever_its_result_says(shelf):
    result = {"verb": "seal", "from": A.to_json(), "to": C.to_json()}
    shelf.put(said("derivation", B, result=result))
    shelf.put(said("leakage", A))
    assert shelf.find("leakage", B) is not None
    assert shelf.find("leakage", C) is None


# Trust never rises on the way.

TRUSTS = list(Trust)


@pytest.mark.parametrize("of_statement", TRUSTS)
@pytest.mark.parametrize("of_first", TRUSTS)
@pytest.mark.parametrize("of_second", TRUSTS)
def test_a_chain_is_as_trusted_as_its_weakest_part(shelf, of_statement, of_first, of_second):
    shelf.put(step(A, B, "convert"), of_first)
    shelf.put(step(B, C, "seal"), of_second)
    shelf.put(said("leakage", A), of_statement)
    weakest = max(of_statement, of_first, of_second, key=TRUSTS.index)
    assert shelf.find("leakage", C).trust == weakest


def test_an_unsigned_derivation_does_not_hide_a_trusted_one(shelf):
    for trust in (Trust.UNSIGNED, Trust.TRUSTED, Trust.UNTRUSTED):
        shelf.put(step(A, B, "seal"), trust)
    shelf.put(said("leakage", A), Trust.TRUSTED)
    assert shelf.find("leakage", B).trust is Trust.TRUSTED


def test_trusted_over_a_long_way_beats_unsigned_and_near(shelf):
    shelf.put(step(A, B, "convert"), Trust.TRUSTED)
    shelf.put(step(B, C, "seal"), Trust.TRUSTED)
    shelf.put(step(A, C, "scrub"), Trust.UNSIGNED)
    shelf.put(said("leakage", A), Trust.TRUSTED)
    shelf.put(said("leakage", C, hour=9), Trust.UNSIGNED)
    found = shelf.find("leakage", C)
    assert (found.trust, found.via) == (Trust.TRUSTED, ("seal", "convert"))


NODES = [subject(name) for name in "abcde"]
edges = st.tuples(
    st.sampled_from(NODES),
    st.sampled_from(NODES),
    st.sampled_from(["seal", "mark", "harden", "convert"]),
    st.sampled_from(TRUSTS),
)
notes = st.tuples(
    st.sampled_from(NODES),
    st.sampled_from(["leakage", "deid"]),
    st.integers(0, 3),
    st.sampled_from(TRUSTS),
)


def by_hand(steps, statements, kind, about):
    """Trust and moment of the best evidence: every path without circles is walked."""
    best = []

    def walk(node, rank, seen):
        for owner, said_kind, hour, trust in statements:
            if owner == node and said_kind == kind:
                best.append((max(rank, TRUSTS.index(trust)), -hour))
        for source, target, verb, trust in steps:
            if target == node and source not in seen and kind in CARRIES[verb]:
                walk(source, max(rank, TRUSTS.index(trust)), {*seen, source})

    walk(about, 0, {about})
    return min(best, default=None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(edges, max_size=7), st.lists(notes, max_size=5), st.sampled_from(["leakage", "deid"])
)
def test_it_is_what_walking_every_path_finds(tmp_path_factory, steps, statements, kind):
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    for source, target, verb, trust in steps:
        shelf.put(step(source, target, verb), trust)
    for owner, said_kind, hour, trust in statements:
        shelf.put(said(said_kind, owner, hour=hour), trust)
    for about in NODES:
        found = shelf.find(kind, about)
        expected = by_hand(steps, statements, kind, about)
        if expected is None:
            assert found is None
        else:
            rank, hour = expected
            assert found.trust is TRUSTS[rank]
            assert found.statement.finished == NOON - timedelta(hours=hour)


origins_as_they_are = Statements._origins


def origins_of_any_trust(self, kind, about):
    """A mutant: a derivation counts whoever says so."""
    reached = origins_as_they_are(self, kind, about)
    return {digest: evidence._Way(Trust.TRUSTED, way.via) for digest, way in reached.items()}


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (Statements, "_origins", origins_of_any_trust),
        (evidence, "CARRIED", dict.fromkeys(evidence.CARRIED, frozenset(KINDS))),
        (evidence, "CARRIED", {**evidence.CARRIED, "harden": frozenset(KINDS)}),
        (evidence, "CARRIED", {}),
        (evidence, "_best_first", lambda item: -item.statement.finished.timestamp()),
        (evidence, "_best_first", lambda item: (item.trust.rank, item.statement.finished)),
        (evidence, "_origin", lambda step: step.statement.subjects[0].digests),
        (evidence, "_OF_BYTES", frozenset()),
        (evidence, "_names", lambda subject, _kind: subject.digests),
        (evidence, "_digests", lambda statement, _kind: {s.sha256 for s in statement.subjects}),
    ],
)
def test_mutants_die(monkeypatch, tmp_path, owner, name, mutant):
    def on_a_new_shelf(test, *arguments):
        return lambda: test(Shelf(tmp_path / secrets.token_hex(4)), *arguments)

    checks = [
        on_a_new_shelf(test_a_chain_is_as_trusted_as_its_weakest_part, *TRUSTS),
        on_a_new_shelf(test_the_most_trusted_is_found_and_of_these_the_newest),
        on_a_new_shelf(test_what_was_said_is_found_by_its_bytes_or_its_weights),
        on_a_new_shelf(test_a_scan_speaks_of_bytes_and_no_other_file_with_the_same_weights),
        on_a_new_shelf(test_a_scan_holds_for_the_bytes_that_a_seal_was_put_around),
        *(on_a_new_shelf(test_what_a_verb_carries, verb) for verb in CARRIES),
    ]
    assert killed(monkeypatch, owner, name, mutant, *checks)


def test_without_keys_nobody_is_trusted(tmp_path):
    plain = Statements(tmp_path)
    bare = said("scan", A).envelope()
    plain.add(said("scan", A))
    assert plain.evidence("scan", A).trust is Trust.UNSIGNED
    plain.add(said("scan", A), Envelope(bare.payload_type, bare.payload, (Signature("k", b"x"),)))
    assert plain.evidence("scan", A).trust is Trust.UNTRUSTED


# The files.


def test_a_file_is_named_by_what_it_is_about_and_when(shelf):
    path = shelf.put(said("scan", subject("a.pt", "weights"), hour=3))
    assert path.parent == shelf.statements.folder / "scan"
    assert path.name.startswith(f"{sha('weights')[:16]}-20260601T150000.000000Z-")
    assert path.name.endswith(SUFFIX)
    assert shelf.put(said("scan", A)).name.startswith(sha("a")[:16])
    assert path.parent.stat().st_mode & 0o077 == 0


def test_an_envelope_is_kept_as_it_came(shelf):
    path = shelf.put(said("scan", A), Trust.TRUSTED)
    assert Envelope.from_bytes(path.read_bytes()).signatures == (Signature("trusted", b"x"),)
    read = shelf.statements.read(path)
    assert read == Evidence(said("scan", A), path, Trust.TRUSTED)


def test_many_at_one_moment_get_names_of_their_own(shelf):
    """Four hex digits, as it was once, collide among 300 more often than not."""
    paths = {shelf.put(said("scan", A)) for _ in range(300)}
    assert len(paths) == shelf.statements.count() == 300
    assert len(list(shelf.statements.all("scan"))) == 300


def test_nothing_is_overwritten_even_under_one_name(shelf, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda size: "ab" * size)
    path = shelf.put(said("scan", A, result={"first": True}))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        shelf.put(said("scan", A, result={"first": False}))
    assert path.read_bytes() == before


def good(kind="scan"):
    return said(kind, A).envelope().to_bytes()


DAMAGED = {
    "empty": ("scan/x.dsse.json", b""),
    "no JSON": ("scan/x.dsse.json", b"{"),
    "cut short": ("scan/x.dsse.json", good()[:-9]),
    "no envelope": ("scan/x.dsse.json", b"{}"),
    "no statement in it": ("scan/x.dsse.json", Envelope("text/plain", b"hello").to_bytes()),
    "of another kind": ("scan/x.dsse.json", good("deid")),
    "in the folder of no kind": ("nonsense/x.dsse.json", good()),
    "in no folder": ("x.dsse.json", good()),
    "too deep": ("scan/deeper/x.dsse.json", good()),
    "changed": ("scan/x.dsse.json", good().replace(b"payloadType", b"payloadtype")),
}


@pytest.mark.parametrize(("name", "data"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_reported_and_hides_nothing(shelf, name, data):
    kept = shelf.put(said("scan", B))
    path = shelf.statements.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    ((where, why),) = shelf.statements.damaged()
    assert where == path
    assert isinstance(why, Foreign)
    assert "\n" not in str(why)
    assert shelf.find("scan", B).path == kept
    assert shelf.find("scan", A) is None
    assert [item.path for item in shelf.statements.all("scan")] == [kept]


def test_a_statement_that_is_too_large_is_damaged(shelf, monkeypatch):
    monkeypatch.setattr(evidence, "_LIMIT", 100)
    path = shelf.put(said("scan", A))
    assert [where for where, _ in shelf.statements.damaged()] == [path]


def test_what_is_no_file_is_reported_and_never_waited_for(shelf, tmp_path):
    folder = shelf.put(said("scan", A)).parent
    os.mkfifo(folder / f"pipe{SUFFIX}")
    (folder / f"link{SUFFIX}").symlink_to("/dev/zero")
    (folder / f"gone{SUFFIX}").symlink_to("nowhere")
    (folder / f"folder{SUFFIX}").mkdir()
    (folder.parent / "deid").symlink_to(tmp_path)
    damaged = {path.name for path, _ in shelf.statements.damaged()}
    assert damaged == {*(f"{name}{SUFFIX}" for name in ("pipe", "link", "gone")), "deid"}
    assert len(list(shelf.statements.all("scan"))) == 1


def test_a_folder_that_may_not_be_read_is_reported(shelf, monkeypatch):
    shelf.put(said("scan", A))
    shelf.put(said("deid", A))
    real = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("scan"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    ((path, error),) = shelf.statements.damaged()
    assert path.name == "scan"
    assert error.message == "cannot be looked at: Permission denied"


@pytest.mark.parametrize(
    "name", [".torchkeep-0123456789abcdef.tmp", ".DS_Store", "x.json~", "README"]
)
def test_what_nobody_takes_for_a_statement_is_no_damage(shelf, name):
    path = shelf.put(said("scan", A))
    path.with_name(name).write_bytes(b"half of a state")
    assert list(shelf.statements.damaged()) == []
    assert shelf.statements.count() == 1


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "statements").write_text("x")
    statements = Statements(tmp_path / "statements")
    assert [path for path, _ in statements.damaged()] == [tmp_path / "statements"]
    assert statements.evidence("scan", A) is None


def test_every_file_is_read_once_however_long_the_chain(shelf, monkeypatch):
    """Cost: each statement of the kind, and each derivation, once."""
    chain = [subject(f"step {n}") for n in range(120)]
    for source, target in itertools.pairwise(chain):
        shelf.put(step(source, target, "seal"))
    for about in chain[:20]:
        shelf.put(said("leakage", about))
    shelf.put(said("deid", A))
    read = []
    real = shelf.statements.read
    monkeypatch.setattr(shelf.statements, "read", lambda path: read.append(path) or real(path))
    found = shelf.find("leakage", chain[-1])
    assert len(found.via) == 100
    assert len(read) == len(set(read)) == 119 + 20


def test_what_is_kept_is_json_that_others_read(shelf):
    path = shelf.put(said("scan", A))
    assert json.loads(path.read_bytes()).keys() == {"payloadType", "payload", "signatures"}

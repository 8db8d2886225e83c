"""Zip archives: honest ones are clean, changed ones never crash and never hide what is in them."""

from __future__ import annotations

import io
import zipfile

import pytest
from doubles.zips import PAYLOAD, PLAIN, Record, archive, torch_like
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep import scan
from torchkeep.core.source import BytesSource, FileSource
from torchkeep.scan import Verdict, dispatch
from torchkeep.scan import zip as archives
from torchkeep.scan.job import Job
from torchkeep.scan.verdict import FileReport

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


class Pipe(io.RawIOBase):
    """A file that cannot seek: writers put sizes behind the data."""

    def __init__(self) -> None:
        self.data = io.BytesIO()

    def writable(self):
        return True

    def write(self, data):
        return self.data.write(data)


def problems(data: bytes) -> list[str]:
    return [problem.text for problem in archives.read(BytesSource(data)).problems]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("content", [b"", b"x", b"some text " * 5000])
def test_what_zipfile_writes_agrees_with_itself(method, seekable, content):
    out = io.BytesIO() if seekable else Pipe()
    with zipfile.ZipFile(out, "w", method) as made:
        made.writestr("folder/", "")
        made.writestr("folder/é.txt", content)
        with made.open("large.txt", "w", force_zip64=True) as member:
            member.write(content)
        made.comment = b"a comment"
    data = out.getvalue() if seekable else out.data.getvalue()
    assert problems(data) == []
    assert scan.data(data, "x.zip").verdict is Verdict.CLEAN


def test_members_have_the_data_that_zipfile_reads():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for method in METHODS:
            made.writestr(f"{method}.bin", bytes(range(256)) * 300, compress_type=method)
    source = BytesSource(out.getvalue())
    with zipfile.ZipFile(out) as made:
        for member in archives.read(source).members:
            with archives.opened(source, member, pytest.fail) as content:
                assert content.read(0, content.size) == made.read(member.name)


def test_an_archive_that_was_added_to_is_clean():
    out = io.BytesIO()
    for name in ("a.txt", "b.txt"):
        with zipfile.ZipFile(out, "a") as made:
            made.writestr(name, "text")
    assert problems(out.getvalue()) == []


def test_an_empty_archive_is_clean():
    out = io.BytesIO()
    zipfile.ZipFile(out, "w").close()
    assert problems(out.getvalue()) == []


def test_arrays_of_numpy_are_clean(tmp_path):
    np = pytest.importorskip("numpy")
    np.savez(tmp_path / "a.npz", w=np.zeros(3), W=np.ones(2))
    np.savez_compressed(tmp_path / "b.npz", w=np.zeros((100, 100)))
    assert scan.file(tmp_path / "a.npz").issues == []
    assert scan.file(tmp_path / "b.npz").issues == []


def test_java_writes_sizes_behind_the_data_and_is_clean():
    records = [
        Record(b"META-INF/", b""),
        Record(b"META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n", method=8, streamed=True),
        Record(b"a.txt", b"text", method=8, streamed=True),
    ]
    assert problems(archive(*records)) == []


def test_names_of_both_readings_are_told():
    data = archive(Record(b"a.txt", b"text", local={"name": b"b.txt"}))
    report = scan.data(data, "x.zip")
    assert [issue.rule for issue in report.issues] == ["TK-SCAN-030"]
    assert "name" in report.issues[0].message.text("en")


def test_a_wrong_checksum_is_told_only_where_there_are_checksums():
    assert problems(archive(Record(b"a.txt", b"text", crc=0))) == []
    assert scan.data(archive(Record(b"a.txt", b"text", crc=0)), "x.zip").issues == []
    wrong = archive(Record(b"a.txt", b"text", crc=5))
    assert scan.data(wrong, "x.zip").verdict is Verdict.MALFORMED


def test_archives_in_a_row_are_each_scanned():
    first, second = archive(*torch_like(PLAIN)), archive(*torch_like(PAYLOAD))
    assert scan.data(first + first, "x.distcp").issues == []
    for data in (first + second, second + first, first + second + first):
        assert scan.data(data, "x.distcp").verdict is Verdict.DANGEROUS
    between = scan.data(first + b"\0" * 7 + first, "x.distcp")
    assert between.verdict is Verdict.MALFORMED


def test_a_directory_costs_few_reads(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        for number in range(50):
            made.writestr(f"{number}.txt", b"text " * 20_000)
    with FileSource(path) as source:
        assert archives.read(source).problems == []
        assert source.bytes_read < source.size / 100
        assert source.requests < 70


def scanned(data: bytes) -> Verdict:
    job = Job(FileReport(path="model.pt"))
    dispatch.look(job, BytesSource(data))
    return job.report.verdict


def sound() -> bytes:
    return archive(
        *torch_like(PAYLOAD, method=8, streamed=True),
        Record(b"archive/notes.txt", b"some notes", extra=b"FB\x04\x00ZZZZ"),
        comment=b"c",
    )


def reachable(data: bytes) -> bool:
    """Whether zipfile still gives the payload, under any name."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as made:
            for info in made.infolist():
                try:
                    if PAYLOAD in made.read(info):
                        return True
                except Exception:
                    continue
    except Exception:
        return False
    return False


changes = st.lists(
    st.tuples(
        st.integers(0, len(sound()) - 1), st.sampled_from(["set", "cut", "insert", "copy"])
    ).flatmap(
        lambda pair: st.tuples(
            st.just(pair[0]), st.just(pair[1]), st.binary(min_size=1, max_size=4)
        )
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, steps) -> bytes:
    out = bytearray(data)
    for at, how, value in steps:
        if how == "set":
            out[at : at + len(value)] = value
        elif how == "cut":
            del out[at : at + value[0]]
        elif how == "insert":
            out[at:at] = value
        else:
            out[at:at] = data[value[0] : value[0] + 40]
    return bytes(out)


@settings(max_examples=400)
@given(changes)
def test_a_changed_archive_never_crashes_and_hides_nothing(steps):
    data = changed(sound(), steps)
    verdict = scanned(data)
    if reachable(data):
        assert verdict in (Verdict.DANGEROUS, Verdict.MALFORMED, Verdict.NEEDS_REVIEW)


@settings(max_examples=150)
@given(st.data())
def test_any_field_may_lie(data):
    number = st.sampled_from([0, 1, 8, 9, 12, 14, 99, 0xFFFF])
    long = st.sampled_from([0, 1, 20, 30, 0x7FFFFFFF, 0xFFFFFFFF])
    lies = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "method": number, "flags": number, "crc": long, "packed": long, "size": long,
                "offset": long,
                "extra": st.sampled_from([b"\1\0\x10\0" + b"\xff" * 16, b"\1\0\0\0", b"\1\0"]),
                "local": st.fixed_dictionaries(
                    {}, optional={"method": number, "flags": number, "crc": long, "packed": long,
                                  "size": long, "name": st.sampled_from([b"", b"a", b"../a"])}
                ),
            },
        )
    )  # fmt: skip
    end = data.draw(
        st.fixed_dictionaries({}, optional={"count": number, "size": long, "offset": long})
    )
    made = [Record(b"archive/x", PAYLOAD, **{k: v for k, v in lies.items() if k != "method"})]
    try:
        built = archive(*torch_like(PLAIN), *made, **end)
    except Exception:  # the lie does not fit its field
        return
    verdict = scanned(built)
    if reachable(built):
        assert verdict in (Verdict.DANGEROUS, Verdict.MALFORMED, Verdict.NEEDS_REVIEW)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_code_of_a_package_is_told(tmp_path):
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("torch.package")
    with package.PackageExporter(tmp_path / "model.pt") as exporter:
        exporter.save_source_string("code", "x = 1\n")
        exporter.save_pickle("model", "model.pkl", {"w": torch.ones(3)})
    report = scan.file(tmp_path / "model.pt")
    assert report.verdict is Verdict.NEEDS_REVIEW
    assert "TK-SCAN-048" in {issue.rule for issue in report.issues}


def test_code_of_a_served_model_is_told():
    records = [Record(b"MAR-INF/MANIFEST.json", b"{}"), Record(b"handler.py", b"x = 1\n")]
    report = scan.data(archive(*records), "model.mar")
    assert [issue.rule for issue in report.issues] == ["TK-SCAN-048"]

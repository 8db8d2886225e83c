"""What store check says of folders, and the audit of the stores that a project names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from torchkeep.cli import app
from torchkeep.core.errors import UsageError
from torchkeep.core.finding import State
from torchkeep.core.project import Project
from torchkeep.core.rule import SECTIONS, words
from torchkeep.core.text import shell_command
from torchkeep.vault import rules, stores
from torchkeep.vault.stores import folders, mounts
from torchkeep.vault.stores.mounts import Way


@pytest.fixture
def folder():
    """A folder that everybody could reach, closed to all but its owner."""
    path = Path(tempfile.mkdtemp(prefix="torchkeep-store-"))
    (path / "deep").mkdir(0o700)
    for name in ("a", "deep/b"):
        (path / name).write_bytes(b"x")
        (path / name).chmod(0o600)
    yield path
    path.chmod(0o700)
    shutil.rmtree(path)


def state(folder: Path, rule: int) -> State:
    (found,) = [one for one in stores.check(folder).findings if one.rule == f"TK-VAULT-{rule:03}"]
    return found.state


def test_a_closed_folder_passes(folder):
    assert state(folder, 11) is State.PASS
    assert state(folder, 17) is State.PASS


@pytest.mark.parametrize("name", [".", "a", "deep", "deep/b"])
@pytest.mark.parametrize(("rule", "bit"), [(11, 0o004), (17, 0o002)])
def test_one_bit_for_everybody_fails_and_its_command_closes_it(folder, name, rule, bit):
    folder.chmod(0o711)
    place = folder / name
    place.chmod(place.stat().st_mode | bit)
    (found,) = [one for one in stores.check(folder).findings if one.state is State.FAIL]
    assert (found.rule, found.measured.value) == (f"TK-VAULT-{rule:03}", 1)
    subprocess.run(shell_command(found.fix), shell=True, check=True)
    assert state(folder, rule) is State.PASS


def test_what_nobody_can_get_to_is_closed(folder):
    (folder / "a").chmod(0o666)
    assert state(folder, 11) is State.PASS
    assert state(folder, 17) is State.WARN


def test_a_sticky_folder_is_a_warning(folder):
    folder.chmod(0o1733)
    assert state(folder, 17) is State.WARN
    folder.chmod(0o733)
    assert state(folder, 17) is State.FAIL


def test_a_group_that_writes_is_a_warning(folder):
    (folder / "deep/b").chmod(0o660)
    assert state(folder, 17) is State.WARN


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_belongs_to_somebody_else_is_a_warning(folder):
    os.chown(folder / "a", 12345, -1)
    assert state(folder, 17) is State.WARN


def test_links_lead_nowhere(folder, tmp_path):
    (tmp_path / "open").write_bytes(b"")
    (tmp_path / "open").chmod(0o666)
    folder.chmod(0o711)
    (folder / "link").symlink_to(tmp_path / "open")
    assert state(folder, 11) is State.PASS


def test_what_cannot_be_looked_at_is_not_measured(folder, monkeypatch):
    def walk(path, onerror):
        onerror(PermissionError(13, "Permission denied", f"{path}/deep"))
        return iter(())

    monkeypatch.setattr(folders.os, "walk", walk)
    assert state(folder, 11) is State.NOT_MEASURED
    assert state(folder, 17) is State.NOT_MEASURED


@pytest.mark.parametrize(("free", "expected"), [(4, State.WARN), (6, State.PASS)])
def test_room(folder, monkeypatch, free, expected):
    disk = os.statvfs_result((4096, 4096, 100, free, free, 1, 1, 1, 0, 255))
    monkeypatch.setattr(folders.os, "statvfs", lambda _: disk)
    assert state(folder, 18) is expected


# What lies below.


def device(root: Path, name: str, uuid: str | None, *below: str) -> None:
    (root / name / "slaves").mkdir(parents=True)
    for one in below:
        (root / name / "slaves" / one).symlink_to(root / one)
    if uuid is not None:
        (root / name / "dm").mkdir()
        (root / name / "dm" / "uuid").write_text(uuid)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({"TOP": ("CRYPT-LUKS2-1234", ["sda"]), "sda": (None, [])}, True),
        ({"TOP": ("LVM-1234", ["c"]), "c": ("CRYPT-LUKS2-1", ["sda"]), "sda": (None, [])}, True),
        ({"TOP": (None, ["c", "sda"]), "c": ("CRYPT-1", []), "sda": (None, [])}, False),
        ({"TOP": ("LVM-CRYPT-1234", ["sda"]), "sda": (None, [])}, False),
        ({"TOP": (None, [])}, False),
        ({}, False),
    ],
    ids=["luks", "lvm on luks", "raid half in clear", "lvm called crypt", "plain", "unknown"],
)
def test_encrypted_is_only_what_rests_on_nothing_else(tmp_path, devices, expected):
    number = tmp_path.stat().st_dev
    top = f"{os.major(number)}:{os.minor(number)}"
    for name, (uuid, below) in devices.items():
        device(tmp_path, name.replace("TOP", top), uuid, *below)
    assert mounts.is_encrypted(tmp_path, devices=tmp_path) is expected


def test_an_encrypted_disk_passes_and_an_unknown_one_does_not(folder, monkeypatch):
    monkeypatch.setattr(mounts, "is_encrypted", lambda _: True)
    assert state(folder, 12) is State.PASS
    monkeypatch.setattr(mounts, "is_encrypted", lambda _: False)
    assert state(folder, 12) is State.NOT_MEASURED


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("ext4", "rw", Way.LOCAL),
        ("nfs4", "rw,vers=4.2,sec=krb5p", Way.ENCRYPTED),
        ("nfs4", "rw,xprtsec=mtls", Way.ENCRYPTED),
        ("nfs4", "rw,sec=krb5i", Way.CLEAR),
        ("nfs", "rw", Way.CLEAR),
        ("cifs", "rw,seal", Way.ENCRYPTED),
        ("cifs", "rw,vers=3.1.1", Way.CLEAR),
        ("fuse.sshfs", "rw", Way.ENCRYPTED),
        ("9p", "rw,seal", Way.UNKNOWN),
        ("fuse.new", "rw", Way.UNKNOWN),
    ],
)
def test_how_bytes_travel(tmp_path, kind, options, expected):
    place = tmp_path / "a b"
    place.mkdir()
    shown = str(place).replace(" ", "\\040")
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 0:9 / {tmp_path}/a rw - nfs other:/ rw\n"
        f"24 22 0:9 / {shown} rw,nosuid shared:1 - {kind} there:/ {options}\n"
        "nonsense\n"
    )
    assert mounts.way(place, table=table) is expected
    assert mounts.way(tmp_path, table=table) is Way.LOCAL
    assert mounts.way(place, table=tmp_path / "none") is Way.UNKNOWN


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (Way.LOCAL, State.NOT_APPLICABLE),
        (Way.ENCRYPTED, State.PASS),
        (Way.CLEAR, State.FAIL),
        (Way.UNKNOWN, State.NOT_MEASURED),
    ],
)
def test_the_row_of_the_way(folder, monkeypatch, way, expected):
    monkeypatch.setattr(mounts, "way", lambda _: way)
    assert state(folder, 13) is expected


# The command and the audit.


@pytest.mark.parametrize("name", ["none", "file"])
def test_no_folder(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="is no folder and no URL of a store"):
        stores.check(tmp_path / name)


@pytest.mark.parametrize(("mode", "disk", "status"), [(0o755, True, 1), (0o700, False, 3)])
def test_the_command(folder, capfd, monkeypatch, mode, disk, status):
    monkeypatch.setattr(mounts, "is_encrypted", lambda _: disk)
    folder.chmod(mode)
    assert app.run(["store", "check", str(folder), "--json"]) == status
    document = json.loads(capfd.readouterr().out)
    assert document["verdict"] == {1: "fail", 3: "not-measured"}[status]
    assert app.run(["store", "check", str(folder), "--lang", "en"]) == status
    out = capfd.readouterr().out
    assert all(one["rule"] in out and one["reason"] in out for one in document["findings"])
    assert app.run(["store", "check", str(folder), "--lang", "zh"]) == status
    assert capfd.readouterr().out != out


def test_a_folder_with_nothing_against_it_ends_with_0(folder, monkeypatch, capfd):
    monkeypatch.setattr(mounts, "is_encrypted", lambda _: True)
    monkeypatch.setattr(mounts, "way", lambda _: Way.LOCAL)
    assert app.run(["store", "check", str(folder)]) == 0
    assert capfd.readouterr().out


@pytest.mark.parametrize("rule", ["TK-VAULT-010", *stores.ISSUES])
def test_every_row_is_explained(rule):
    for section in SECTIONS:
        text = words(rule, section)
        assert text.text("en") != text.text("zh")


def audited(root: Path, stores: list[str]) -> dict[str, State]:
    (root / "torchkeep.toml").write_text(f'[project]\nname = "x"\n[vault]\nstores = {stores}\n')
    project = Project.open(root)
    (rule,) = [rule for rule in rules.RULESET.rules if rule.id == "TK-VAULT-010"]
    return {found.subject: found.state for found in rule.check(project)}


def test_the_audit_sums_up_what_the_project_names(folder, monkeypatch):
    monkeypatch.setattr(mounts, "is_encrypted", lambda _: True)
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    assert audited(folder, ["deep", "open"]) == {"deep": State.PASS, "open": State.WARN}
    folder.chmod(0o711)
    assert audited(folder, ["deep", "open"]) == {"deep": State.PASS, "open": State.FAIL}


def test_a_store_that_is_not_reached_is_not_measured(folder, monkeypatch):
    pytest.importorskip("boto3", reason="buckets need the extra: torchkeep[store]")
    monkeypatch.setattr("torchkeep.core.sink.s3._ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    found = audited(folder, ["s3://bucket", "gs://bucket", "none"])
    assert found == dict.fromkeys(["s3://bucket", "gs://bucket", "none"], State.NOT_MEASURED)


def test_a_project_that_names_no_store_is_not_measured(folder):
    assert audited(folder, []) == {"x": State.NOT_MEASURED}

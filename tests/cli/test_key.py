"""``key``, and the options by which other commands are given keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from makers import terminal
from makers.shell import COMMAND, call, environment

from torchkeep.cli import app, keyring
from torchkeep.core.errors import UsageError
from torchkeep.vault import age, bech32, home, keys, memory_lock
from torchkeep.vault.recipients import PublicKey

WORDS = "correct horse battery staple"


@pytest.fixture(autouse=True)
def forbidden(monkeypatch) -> list[bool]:
    """Whether core dumps were forbidden; the process of the tests goes without."""
    told: list[bool] = []
    monkeypatch.setattr(memory_lock, "forbid_dumps", lambda: told.append(True))
    return told


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TORCHKEEP_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("TORCHKEEP_LANG", "en")
    monkeypatch.delenv("TORCHKEEP_PASSPHRASE_FILE", raising=False)
    monkeypatch.setattr(age, "WORK", 4)
    return tmp_path / "here"


@pytest.fixture
def words(here) -> str:
    """A file with a passphrase."""
    (here / "words").write_text(f"{WORDS}\n")
    (here / "words").chmod(0o600)
    return "words"


def run(capfd, *arguments: str, status: int = 0) -> tuple[str, str]:
    assert app.run(["key", *arguments]) == status
    return capfd.readouterr()


# Making.


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ([], "age1pq1"),
        (["--classic"], "age1"),
        (["--sign"], "torchkeep-signer-1"),
    ],
)
def test_the_last_line_is_the_public_part(here, capfd, words, options, start):
    out, err = run(capfd, "new", "-o", "k", *options, "--passphrase-file", words)
    public = out.splitlines()[-1]
    assert public.startswith(start)
    assert (here / "k.pub").read_text() == f"{public}\n"
    assert "encrypted under its passphrase" in err
    assert run(capfd, "show", "k")[0] == f"{public}\n"
    assert run(capfd, "show", "./k.pub")[0] == f"{public}\n"


def test_names_are_kept_in_the_key_home(capfd, words):
    run(capfd, "new", "alice", "--passphrase-file", words)
    for options in ([], ["--sign"]):
        run(capfd, "new", *options, "--unencrypted")
    assert [one.name for one in keys.entries()] == ["alice", "identity", "signer"]
    assert home.folder().stat().st_mode & 0o777 == 0o700


def test_a_key_in_the_clear_is_called_so(here, capfd):
    _, err = run(capfd, "new", "-o", "k", "--unencrypted")
    assert "in the clear" in err
    assert (here / "k").read_text().startswith("# created: ")


def test_a_secret_is_shared(here, capfd, words):
    run(capfd, "new", "alice", "--passphrase-file", words)
    bob = run(capfd, "new", "-o", "bob", "--unencrypted")[0].strip()
    out, err = run(capfd, "new", "--secret", "-o", "s", "--to", "alice", "--to", bob)
    assert (out, "(2)" in err) == ("s\n", True)
    for name in ("alice", "bob"):
        assert len(keyring.secret("s", [name], Path(words), "mark")) == 32
    run(capfd, "new", "--secret", "-o", "t", "--to", "./bob.pub")
    assert keyring.secret("t", ["bob"], None, "mark")


def test_the_passphrase_file_may_come_from_the_environment(here, capfd, monkeypatch, words):
    monkeypatch.setenv("TORCHKEEP_PASSPHRASE_FILE", words)
    run(capfd, "new", "-o", "k")
    assert keys.identity("k", lambda name: WORDS.encode())
    run(capfd, "new", "-o", "clear", "--unencrypted")
    assert (here / "clear").read_text().startswith("# created: ")


@pytest.mark.parametrize("taken", ["k", "k.pub"])
def test_nothing_is_written_over(here, capfd, words, taken):
    (here / taken).write_bytes(b"mine")
    for options in (["--passphrase-file", words], ["--sign", "--unencrypted"], []):
        _, err = run(capfd, "new", "-o", "k", *options, status=2)
        assert "exists already" in err
    assert (here / taken).read_bytes() == b"mine"
    assert {path.name for path in here.iterdir()} == {taken, "words"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["name", "-o", "k"], "exclude each other"),
        (["--sign", "--secret", "--to", "age1x"], "exclude each other"),
        (["--sign", "--classic"], "exclude each other"),
        (["--secret", "--to", "age1x", "--classic"], "exclude each other"),
        (["--secret", "--to", "age1x", "--unencrypted"], "exclude each other"),
        (["--unencrypted", "--passphrase-file", "words"], "exclude each other"),
        (["--secret"], "go together"),
        (["--to", "age1x"], "go together"),
        (["--secret", "--to", "age1x"], "no recipient"),
        (["--secret", "--to", "nobody"], "there is no key nobody"),
        (["a/b", "--unencrypted"], "no name for a key"),
        ([".a", "--unencrypted"], "no name for a key"),
        (["a.pub", "--unencrypted"], "no name for a key"),
        (["-o", "missing/k", "--unencrypted"], "folder does not exist"),
        (["-o", "k"], "no terminal"),
        (["-o", "k", "--passphrase-file", "missing"], "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(here, capfd, words, arguments, said):
    out, err = run(capfd, "new", *arguments, status=2)
    assert (out, err.count("\n"), said in err) == ("", 1, True)
    assert {path.name for path in here.iterdir()} == {"words"}


def test_without_a_command_help_goes_to_standard_error(capfd):
    out, err = run(capfd, status=2)
    assert (out, "Usage: torchkeep key" in err) == ("", True)


@pytest.mark.parametrize("command", ["new", "list", "show"])
def test_every_option_is_described(capfd, command):
    out, _ = run(capfd, command, "--help")
    assert f"Usage: torchkeep key {command}" in out
    options = keyring_options(command)
    assert all(option.help for option in options)


def keyring_options(command: str) -> list[click.Option]:
    group = app.root.get_command(click.Context(app.root), "key")
    assert isinstance(group, click.Group)
    return [one for one in group.commands[command].params if isinstance(one, click.Option)]


# Listing.


def test_the_list(capfd, words):
    assert run(capfd, "list") == ("", f"there is no key in {home.folder()}\n")
    run(capfd, "new", "alice", "--passphrase-file", words)
    public = run(capfd, "new", "bob", "--sign", "--unencrypted")[0].strip()
    run(capfd, "new", "shared", "--secret", "--to", "alice")
    (home.folder() / "bob").chmod(0o644)
    home.folder().chmod(0o755)
    out, err = run(capfd, "list")
    rows = [line.split() for line in out.splitlines()]
    assert [row[:3] for row in rows] == [
        ["alice", "identity", "encrypted"],
        ["bob", "signer", "in"],
        ["shared", "secret", "encrypted"],
    ]
    assert "others have access to it" in out.splitlines()[1]
    assert f"{home.folder()}: others have access to it" in err
    assert "已加密" in run(capfd, "list", "--lang", "zh")[0]

    document = json.loads(run(capfd, "list", "--json")[0])
    assert document["schema_version"] == 1
    assert document["home"] == str(home.folder())
    assert document["problem"]
    assert [one["kind"] for one in document["keys"]] == ["identity", "signer", "secret"]
    assert document["keys"][1]["public"] == public


def test_names_are_shown_harmless(capfd):
    home.make()
    (home.folder() / "a\x1b[2J").write_text("x")
    out, _ = run(capfd, "list")
    assert out.replace("\n", "").isprintable()


# At a terminal, and in a process of its own.


def places() -> dict[str, str]:
    return {"TORCHKEEP_KEYS": str(home.folder()), "PYTHONPATH": ":".join(sys.path)}


def at_terminal(*arguments: str, answers: tuple[str, ...]) -> tuple[int, bytes, bytes, bytes]:
    command = [*COMMAND, "key", *arguments]
    return terminal.run(command, answers, environment=environment(**places()))


def test_a_passphrase_is_asked_for_twice_and_not_shown(here):
    status, out, err, shown = at_terminal("new", "-o", "k", "--classic", answers=(WORDS, WORDS))
    assert (status, out[:5]) == (0, b"age1" + out[4:5])
    assert WORDS.encode() not in out + err + shown
    assert keys.identity("k", lambda name: WORDS.encode())
    (here / "k.pub").unlink()
    status, shown_key, err, shown = at_terminal("show", "k", answers=(WORDS,))
    assert (status, shown_key) == (0, out)
    assert WORDS.encode() not in err + shown
    status, out, err, shown = at_terminal("show", "k", answers=("wrong words",))
    assert (status, out) == (1, b"")
    assert b"k does not open with this passphrase" in err
    assert b"wrong words" not in err + shown


def test_without_a_terminal_nobody_is_asked(here, capfd, words):
    run(capfd, "new", "-o", "k", "--passphrase-file", words)
    (here / "k.pub").unlink()
    done = call("key", "show", "k", **places())
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no terminal" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is a call of Linux")
@pytest.mark.parametrize("arguments", [["new", "-o", "n"], ["show", "k"]])
def test_a_process_that_holds_keys_leaves_no_core_dump(here, capfd, words, arguments):
    run(capfd, "new", "-o", "k", "--unencrypted")
    code = (
        "import ctypes, resource, sys\n"
        "from torchkeep.cli import app\n"
        "from torchkeep.vault import age\n"
        "age.WORK = 4\n"
        "assert app.run(['key', *sys.argv[1:]]) == 0\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), file=sys.stderr)\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--passphrase-file", words],
        capture_output=True,
        env=environment(**places()),
        timeout=60,
    )
    assert done.stderr.split()[-2:] == [b"0", b"0"], done.stderr


# Nothing secret is said.


def test_no_output_shows_a_piece_of_a_key(here, capfd, words):
    run(capfd, "new", "-o", "k", "--unencrypted")
    run(capfd, "new", "-o", "s", "--sign", "--unencrypted")
    secrets = [(here / name).read_text().splitlines()[-1] for name in ("k", "s")]
    (here / "bad").write_text(secrets[0][:-1] + ("q" if secrets[0][-1] != "q" else "p"))
    (here / "bad").chmod(0o600)
    said = ""
    for arguments in (
        ["show", "k"],
        ["show", "s"],
        ["show", "bad"],
        ["show", secrets[0]],
        ["new", "--secret", "-o", "t", "--to", secrets[0]],
        ["new", "--secret", "-o", "t", "--to", "bad"],
        ["list", "--json"],
    ):
        app.run(["key", *arguments])
        app.run(["key", *arguments, "--json"])
        said += "".join(capfd.readouterr()).lower()
    for secret in secrets:
        spelled = secret.rpartition("1")[2].lower()
        assert not any(spelled[at : at + 6] in said for at in range(len(spelled) - 5))
        assert bech32.decode(secret)[1].hex()[:8] not in said


# What other commands share.


@click.command()
@keyring.to
@keyring.identity
@keyring.sign
@keyring.key
@keyring.passphrase_file
def other(to, identity, sign, key, passphrase_file):
    found = keyring.identities(identity, passphrase_file)
    click.echo(" ".join(one.public[:8] for one in found))
    click.echo(str(len(keyring.signers(sign, passphrase_file))))
    click.echo(" ".join(one.text[:8] for one in keyring.recipients(to)))
    click.echo(keyring.secret(key, identity, passphrase_file, "x").hex())


def test_a_command_is_given_keys(here, capfd, words, forbidden):
    options = ["--passphrase-file", words]
    public = run(capfd, "new", "-o", "k", *options)[0].strip()
    run(capfd, "new", "-o", "s", "--sign", *options)
    run(capfd, "new", "-o", "shared", "--secret", "--to", public)
    forbidden.clear()
    given = ["--to", public, "--to", "./k.pub", "--identity", "k", "--sign", "s", "--key", "shared"]
    other.main([*given, *options], standalone_mode=False)
    lines = capfd.readouterr().out.splitlines()
    assert lines[:3] == ["age1pq1" + public[7], "1", " ".join([public[:8]] * 2)]
    assert len(lines[3]) == 64
    assert forbidden


def test_core_dumps_are_forbidden_before_a_key_is_read(here, capfd, monkeypatch, forbidden):
    run(capfd, "new", "-o", "k", "--unencrypted")
    forbidden.clear()
    read = keys.identity

    def first(*arguments):
        assert forbidden
        return read(*arguments)

    monkeypatch.setattr(keys, "identity", first)
    assert keyring.identities(["k"], None)
    assert PublicKey(keyring.recipients(["k"])[0].text)


def test_a_signer_is_no_recipient(here, capfd):
    run(capfd, "new", "-o", "s", "--sign", "--unencrypted")
    with pytest.raises(UsageError, match="no recipient"):
        keyring.recipients(["s"])

"""Secrets are found by their form, and no part of one is shown anywhere.

Every example is put together when the tests run, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import string
import subprocess
from functools import cache

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.projects import project
from makers.reports import forms

from torchkeep.audit import Verdict, run, secrets
from torchkeep.audit.render import render
from torchkeep.core.finding import State
from torchkeep.core.messages import LANGUAGES, message

ALNUM = string.ascii_letters + string.digits
BASE32 = string.ascii_uppercase + "234567"
BECH32 = "023456789ACDEFGHJKLMNPQRSTUVWXYZ"
URL_SAFE = ALNUM + "_-"
Format = serialization.PrivateFormat


def some(length: int, alphabet: str = ALNUM) -> str:
    return "".join(random.Random(length).choices(alphabet, k=length))


KEYS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@cache
def pem(kind: str, form: Format, passphrase: str = "") -> str:
    """A key that ``cryptography`` has just made."""
    lock = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    return KEYS[kind]().private_bytes(serialization.Encoding.PEM, form, lock).decode()


CLEAR_KEYS = [
    ("rsa", Format.PKCS8, "private-key"),
    ("ec", Format.PKCS8, "private-key"),
    ("ed25519", Format.PKCS8, "private-key"),
    ("rsa", Format.TraditionalOpenSSL, "private-key"),
    ("ec", Format.TraditionalOpenSSL, "private-key"),
    ("rsa", Format.OpenSSH, "openssh-key"),
    ("ec", Format.OpenSSH, "openssh-key"),
    ("ed25519", Format.OpenSSH, "openssh-key"),
]
LOCKED_KEYS = [
    ("rsa", Format.PKCS8),
    ("ec", Format.PKCS8),
    ("ed25519", Format.PKCS8),
    ("rsa", Format.TraditionalOpenSSL),
    ("ec", Format.TraditionalOpenSSL),
]

# How a key's text stands in files of other kinds.
WRITTEN = {
    "as it is": lambda text: text,
    "with Windows line ends": lambda text: text.replace("\n", "\r\n"),
    "in JSON": lambda text: json.dumps({"type": "service_account", "private_key": text}),
    "in YAML": lambda text: "key: |\n" + "".join(f"    {line}\n" for line in text.splitlines()),
    "in source": lambda text: "key = (" + "\n".join(f"'{x}\\n' +" for x in text.splitlines()) + ")",
    "in an environment file": lambda text: 'KEY="' + text.replace("\n", "\\n") + '"',
    "at the end of much text": lambda text: "x" * 70_000 + "\n" + text,
}


@pytest.mark.parametrize(("kind", "form", "name"), CLEAR_KEYS)
def test_a_key_in_clear_is_found(kind, form, name):
    for how, write in WRITTEN.items():
        found = list(secrets.find(write(pem(kind, form)).encode()))
        assert [(s.kind, s.count) for s in found] == [(name, 1)], how


@pytest.mark.parametrize(("kind", "form"), LOCKED_KEYS)
def test_a_key_under_a_passphrase_is_no_secret(kind, form):
    for how, write in WRITTEN.items():
        assert not list(secrets.find(write(pem(kind, form, "correct horse")).encode())), how


def openssh(cipher: bytes) -> str:
    """What every OpenSSH key starts with, under the cipher of that name."""
    blob = b"openssh-key-v1\0" + len(cipher).to_bytes(4, "big") + cipher + bytes(200)
    return "\n".join(
        [
            "-----BEGIN OPENSSH" + " PRIVATE KEY-----",
            *(base64.b64encode(blob[n : n + 51]).decode() for n in range(0, 204, 51)),
            "-----END OPENSSH" + " PRIVATE KEY-----",
        ]
    )


@pytest.mark.parametrize("cipher", [b"aes256-ctr", b"aes256-gcm@openssh.com", b"3des-cbc", b"non"])
def test_an_openssh_key_under_a_cipher_is_no_secret(cipher):
    for how, write in WRITTEN.items():
        assert not list(secrets.find(write(openssh(cipher)).encode())), how
        clear = secrets.find(write(openssh(b"none")).encode())
        assert [s.kind for s in clear] == ["openssh-key"], how


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
@pytest.mark.parametrize(("passphrase", "count"), [("", 1), ("correct horse", 0)])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_openssh_itself(tmp_path, passphrase, count, kind):
    path = tmp_path / "id"
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    assert len(list(secrets.find(path.read_bytes()))) == count
    assert not list(secrets.find(path.with_suffix(".pub").read_bytes()))


TOKENS = [
    ("age-key", "AGE-SECRET-KEY-" + "1" + some(58, BECH32)),
    ("age-key", "AGE-SECRET-KEY-" + "PQ-1" + some(100, BECH32)),
    ("aws-key", "AK" + "IA" + some(16, BASE32)),
    ("aws-key", "AS" + "IA" + some(16, BASE32)),
    *(("github-token", f"gh{kind}_" + some(36)) for kind in "pousr"),
    ("github-token", "ghs_" + some(80)),
    ("github-token", "github_" + "pat_" + some(22) + "_" + some(59)),
    ("gitlab-token", "glp" + "at-" + some(20, URL_SAFE)),
    ("gitlab-token", "glp" + "at-" + some(19) + "-"),  # the last character is no word's end
    ("gitlab-token", "glp" + "at-" + some(27) + ".01." + some(9)),
    ("hugging-face-token", "h" + "f_" + some(34, string.ascii_letters)),
    ("openai-key", "s" + "k-" + some(20) + "T3Blbk" + "FJ" + some(20)),
    ("openai-key", "s" + "k-proj-" + some(74, URL_SAFE) + "T3Blbk" + "FJ" + some(74, URL_SAFE)),
    ("openai-key", "s" + "k-svcacct-" + some(58) + "T3Blbk" + "FJ" + some(58)),
    ("anthropic-key", "sk-" + "ant-api03-" + some(93, URL_SAFE) + "AA"),
    ("anthropic-key", "sk-" + "ant-admin01-" + some(93, URL_SAFE) + "AA"),
    ("google-key", "AI" + "za" + some(35, URL_SAFE)),
    ("google-key", "AI" + "za" + some(34) + "-"),
    *(("slack-token", f"xo{kind}-" + "123456789012-" + some(24)) for kind in ("xb", "xp", "xa")),
    ("aliyun-key", "LT" + "AI" + some(20)),
    ("aliyun-key", "LT" + "AI" + some(12)),  # the older form
    ("tencent-key", "AK" + "ID" + some(32)),
    ("url-password", "postgresql://ann:" + some(12) + "@db.internal:5432/x"),
    ("url-password", "redis://:" + some(20) + "@cache:6379/0"),  # a server without users
    ("url-password", "https://oauth2:" + some(200) + "@git.internal/x.git"),
    ("url-password", "https://ann:" + some(9) + "@test.internal/"),
    ("url-password", "https://ann:" + some(9) + "@invalid.example-corp.net/"),
    ("url-password", "HTTPS://ann:" + some(9, "!&;,?=%~") + "@10.0.0.1"),
]

AROUND = [
    "{}",
    "token = '{}'",
    '{{"token": "{}"}}',
    "X={}\r\n",
    "\t{};",
    "a,{},b",
    "({})",
    "`{}`\n",
]


@pytest.mark.parametrize(("kind", "token"), TOKENS)
def test_a_token_is_found(kind, token):
    for around in AROUND:
        found = list(secrets.find(around.format(token).encode()))
        assert [(s.kind, s.lines, s.count) for s in found] == [(kind, (1,), 1)], around


def test_every_kind_has_an_example_and_a_name():
    examples = {kind for kind, _ in TOKENS} | {name for _, _, name in CLEAR_KEYS}
    assert examples == set(secrets.KINDS)
    for kind in secrets.KINDS:
        names = {message(f"audit.secret-kinds.{kind}").text(lang) for lang in LANGUAGES}
        assert len(names) == 2


HARMLESS = [
    "",
    "-----BEGIN " + "PRIVATE KEY-----",  # source that looks for keys
    'if text.startswith("-----BEGIN ' + 'PRIVATE KEY-----"):',
    "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQ...\n-----END " + "PRIVATE KEY-----",
    "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n...\n-----END",
    "-----BEGIN " + "PUBLIC KEY-----\n" + some(64),
    "-----BEGIN " + "CERTIFICATE-----\n" + some(64),
    "-----BEGIN " + "ENCRYPTED PRIVATE KEY-----\n" + some(64),
    "age1" + some(58, BECH32.lower()),
    "AGE-SECRET-KEY-1..." + some(58, BECH32),
    "AKIA" + "IOSFODNN7EXAMPLE",  # the documentation's
    "AKIA" + some(17, BASE32),
    "xAKIA" + some(16, BASE32),
    "AKIA" + some(16).lower(),
    "ghp_" + some(20),
    "ghx_" + some(36),
    "through_" + "a" * 36,
    "glpat-" + some(10),
    "shelf_" + some(34),
    "hf_hub_download(" + some(34),
    "sk-" + some(48),  # without the mark in its middle it may be anything
    "T3Blbk" + "FJ",
    some(30) + "T3Blbk" + "FJ" + some(30),  # "OpenAI" in some text in base64
    "sk-" + "T3Blbk" + "FJ" + some(30),
    "sk-ant-api03-" + some(20),
    "AIza" + some(20),
    "AIza" + some(40),
    "xox" + "b-12-ab",
    "xoxo-" + some(30),
    "LTAI" + some(30),
    "SALTAI" + some(20),
    "AKID" + some(20),
    "https://example.org/a:b@c",
    "postgres://user:password@localhost/db",
    "postgres://user:passwd@localhost/db",
    "redis://:secret@localhost",
    "https://ann:********@internal/",
    "https://ann:xxx@internal/",
    "https://ann:...@internal/",
    "https://ann:${PASSWORD}@internal/",
    "https://ann:{password}@internal/",
    "https://ann:<password>@internal/",
    "https://ann:abcd@example.com/",
    "https://ann:abcd@db.example.org/",
    "https://ann:abcd@no.such.host.invalid/",
    "https://ann:abcd@db.test:5432/",
    "https://USER:PASSWORD@HOST/PATH",
    "mailto:ann@internal",
    "see http://a.b/c and ann: d@e",
    "git@github.com:owner/name.git",
    "http://[::1]:8080/@x",
    "//ann:abcd@internal",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_is_none(text):
    for around in AROUND:
        assert not list(secrets.find(around.format(text).encode())), around


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "gb18030"]
)
def test_text_is_searched_whatever_its_encoding(encoding):
    for kind, token in TOKENS:
        data = f"# ü\nkey = {token}\n".encode(encoding, "replace")
        assert secrets.is_text(data)
        assert [(s.kind, s.lines) for s in secrets.find(data)] == [(kind, (2,))]


def test_without_a_mark_utf_16_is_binary_and_nobody_says_it_was_searched():
    assert not secrets.is_text("token".encode("utf-16-le"))
    assert not secrets.is_text("token".encode("utf-32-be"))


def test_the_first_lines_are_named_and_the_others_counted():
    token = TOKENS[2][1]
    text = "\n".join([token, "", f"{token} {token}", *[token] * 20])
    (found,) = secrets.find(text.encode())
    assert (found.lines, found.count) == ((1, 3, 4, 5, 6), 23)


BLOCK = 4 << 20
COSTLY = [
    b"a",
    b"-",
    b"sk-",
    b"sk-ant-",
    b"AKIA",
    b" AKIA" + b"A" * 17,
    b"://",
    b"abc://c:",
    b"abc://c:" + b"eee@f ",
    b"abc://" + b"u" * 64 + b":" + b"p" * 256 + b" ",
    b"abc://c:" + b"eee@" + b"a." * 3000 + b"example.com ",
    b"abc://c:" + b"eee@" + b"test." * 3000,
    b"T3Blbk" + b"FJ",
    b"sk-" * 60 + b"T3Blbk" + b"FJ" + b"a" * 20 + b" ",
    b"-----BEGIN PRIVATE " + b"KEY-----",
    b"-----BEGIN PRIVATE " + b"KEY-----" + b"+" * 64 + b"a" * 19,
    b"-----BEGIN PRIVATE " + b"KEY-----" + b"\\n" * 64,
    b"ghp_",
    b"xoxb-",
    b" LTAI" + b"a" * 27,
    b"\n" * 7 + b"ghp_" + b"a" * 36,
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", COSTLY)
def test_no_text_is_costly(unit):
    """A search that goes over a text again and again would take hours for these."""
    list(secrets.find((unit * (BLOCK // len(unit) + 1))[:BLOCK]))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(TOKENS), st.binary(max_size=300))
def test_no_bytes_are_an_error(before, token, after):
    data = before + token[1].encode() + after
    secrets.is_text(data)
    for found in secrets.find(data):
        assert 1 <= found.lines[0] <= data.count(b"\n") + 1


def windows(secret: str, length: int = 7) -> set[str]:
    """Every part of a secret that is long enough to be one."""
    return {secret[n : n + length] for n in range(len(secret) - length + 1)}


def leaks(secret: str, text: str) -> bool:
    return any(part in text for part in windows(secret))


def test_a_leak_is_noticed():
    """The planted fault: a form that shows the first or last characters of what was found."""
    token = some(36)
    assert leaks(token, f"ghp_{token[:8]}...")
    assert leaks(token, f"...{token[-7:]}")
    assert not leaks(token, "TK-AUDIT-002 a.env:1: GitHub token in clear on line 1")


def test_no_part_of_a_secret_is_shown(tmp_path):
    bodies = [token.rpartition(token[:4])[2] for _, token in TOKENS]
    keys = [pem(kind, form) for kind, form, _ in CLEAR_KEYS]
    bodies += ["".join(key.splitlines()[1:-1]) for key in keys]
    texts = [token for _, token in TOKENS] + keys
    files = {f"conf/{n}.env": f"# {n}\nX={text}\n" for n, text in enumerate(texts)}
    report = run(project(tmp_path, files))
    found = [f for f in report.findings if f.rule == "TK-AUDIT-002"]
    assert {f.subject for f in found} == set(files)
    assert {f.state for f in found} == {State.FAIL}
    assert all(f.location.line == 2 for f in found)
    assert report.verdict is Verdict.FAIL
    shown = [render(report, form, language) for form in forms() for language in LANGUAGES]
    shown.append(repr(report))
    for body in bodies:
        secret = body.partition("://")[2].partition("@")[0].partition(":")[2] or body
        assert not any(leaks(secret, text) for text in shown)

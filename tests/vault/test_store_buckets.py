"""What store check says of buckets, with every setting on and off."""

from __future__ import annotations

import json
import re

import pytest
from servers import faults

from torchkeep.core.errors import SourceError, UsageError
from torchkeep.core.finding import State
from torchkeep.core.text import shell_command
from torchkeep.vault import stores

ROWS = {
    "public": 11,
    "encrypted": 12,
    "on the way": 13,
    "versioned": 14,
    "locked": 15,
    "kept": 16,
}
BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
TLS = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::fresh", "arn:aws:s3:::fresh/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
OPEN = {
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::fresh/*",
}


@pytest.fixture
def bucket(s3, monkeypatch):
    """A fresh bucket that can hold locks; the endpoint looks like one with TLS."""
    monkeypatch.setattr("torchkeep.core.sink.s3._ATTEMPTS", 1)
    s3.client.create_bucket(Bucket="fresh", ObjectLockEnabledForBucket=True)
    yield Settings(s3.client)
    s3.client.delete_bucket(Bucket="fresh")


@pytest.fixture
def tls(bucket, monkeypatch):
    """Have the endpoint pass for one with TLS: moto has none."""
    from torchkeep.core.sink import s3

    made = s3.client()
    monkeypatch.setattr(s3, "client", lambda **_: made)
    monkeypatch.setattr(s3, "endpoint", lambda: "https://s3.example")


class Settings:
    """Sets one thing of the bucket."""

    def __init__(self, client) -> None:
        self._client = client

    def __getattr__(self, call: str):
        return lambda **options: getattr(self._client, call)(Bucket="fresh", **options)

    def policy(self, *statements) -> None:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        self.put_bucket_policy(Policy=json.dumps(document))

    def keeps(self, *days: int, status: str = "Enabled") -> None:
        rules = [
            {
                "ID": f"r{number}",
                "Status": status,
                "Filter": {"Prefix": f"p{number}"},
                "NoncurrentVersionExpiration": {"NoncurrentDays": value},
            }
            for number, value in enumerate(days)
        ]
        self.put_bucket_lifecycle_configuration(LifecycleConfiguration={"Rules": rules})


def of(row: str):
    (found,) = [
        one for one in stores.check("s3://fresh").findings if one.rule == f"TK-VAULT-{ROWS[row]:03}"
    ]
    return found


@pytest.mark.parametrize(
    ("missing", "state"),
    [("", State.PASS), *((name, State.WARN) for name in BLOCKED)],
)
def test_public_access_is_blocked_by_all_four(bucket, missing, state):
    flags = {name: name != missing for name in BLOCKED}
    bucket.put_public_access_block(PublicAccessBlockConfiguration=flags)
    assert of("public").state is state


BLOCKED_BUT = [
    ({"BlockPublicAcls": True}, State.FAIL),
    ({"IgnorePublicAcls": True}, State.WARN),
    (BLOCKED, State.PASS),
]


@pytest.mark.parametrize("acl", ["public-read", "public-read-write", "authenticated-read"])
@pytest.mark.parametrize(("blocked", "state"), BLOCKED_BUT)
def test_a_public_access_list(bucket, acl, blocked, state):
    bucket.put_bucket_acl(ACL=acl)
    bucket.put_public_access_block(PublicAccessBlockConfiguration=blocked)
    assert of("public").state is state


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, State.FAIL),
        ({"Principal": {"AWS": "*"}}, State.FAIL),
        ({"Principal": {"AWS": ["1234", "*"]}}, State.FAIL),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, State.WARN),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}, State.WARN),
        ({"Effect": "Deny"}, State.WARN),
    ],
)
def test_a_public_policy(bucket, change, state):
    bucket.policy(OPEN | change)
    assert of("public").state is state
    bucket.put_public_access_block(PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert of("public").state is State.WARN


def test_default_encryption(bucket):
    assert of("encrypted").state is State.FAIL
    default = {"SSEAlgorithm": "aws:kms"}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
    bucket.put_bucket_encryption(ServerSideEncryptionConfiguration=rules)
    found = of("encrypted")
    assert (found.state, found.measured.value) == (State.PASS, "aws:kms")


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, State.PASS),
        ({"Principal": {"AWS": "*"}}, State.PASS),
        ({"Action": "*"}, State.PASS),
        ({"Resource": "*"}, State.PASS),
        ({"Condition": {"Bool": {"aws:SecureTransport": ["false"]}}}, State.PASS),
        ({"Effect": "Allow"}, State.FAIL),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, State.FAIL),
        ({"Action": "s3:GetObject"}, State.FAIL),
        ({"Resource": "arn:aws:s3:::fresh/*"}, State.FAIL),
        ({"Resource": ["arn:aws:s3:::other", "arn:aws:s3:::other/*"]}, State.FAIL),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, State.FAIL),
        (
            {
                "Condition": {
                    "Bool": {"aws:SecureTransport": "false"},
                    "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
                }
            },
            State.FAIL,
        ),
    ],
)
def test_only_a_whole_denial_is_tls_only(bucket, tls, change, state):
    bucket.policy(TLS | change)
    assert of("on the way").state is state


def test_an_endpoint_without_tls_fails_whatever_the_policy_says(bucket):
    bucket.policy(TLS)
    found = of("on the way")
    assert (found.state, found.fix[:2]) == (State.FAIL, ("torchkeep", "explain"))


def test_no_policy_is_no_tls(bucket, tls):
    assert of("on the way").state is State.FAIL


def test_versions(bucket):
    bucket.put_bucket_versioning(VersioningConfiguration={"Status": "Suspended"})
    assert of("versioned").state is State.FAIL
    bucket.put_bucket_versioning(VersioningConfiguration={"Status": "Enabled"})
    assert of("versioned").state is State.PASS


def test_a_bucket_without_versions(s3):
    found = {one.rule: one.state for one in stores.check(f"{s3.url}/some/key").findings}
    assert found["TK-VAULT-014"] is State.FAIL
    assert found["TK-VAULT-015"] is State.WARN


@pytest.mark.parametrize(
    ("retention", "days"),
    [
        ({"Mode": "COMPLIANCE", "Days": 90}, 90),
        ({"Mode": "GOVERNANCE", "Years": 1}, 365),
    ],
)
def test_object_lock(bucket, retention, days):
    assert of("locked").state is State.WARN  # enabled, and holds nothing by itself
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    bucket.put_object_lock_configuration(ObjectLockConfiguration=lock)
    found = of("locked")
    assert (found.state, found.measured.value) == (State.PASS, days)


@pytest.mark.parametrize(
    ("days", "status", "state"),
    [
        ([], "Enabled", State.PASS),
        ([29], "Enabled", State.FAIL),
        ([30], "Enabled", State.PASS),
        ([365, 1], "Enabled", State.FAIL),
        ([1], "Disabled", State.PASS),
    ],
)
def test_lifecycle(bucket, days, status, state):
    if days:
        bucket.keeps(*days, status=status)
    assert of("kept").state is state


# Commands.


def paste(settings: Settings, command: tuple[str, ...]) -> None:
    """Do what ``aws s3api`` would do."""
    line = shell_command(command)
    assert line is not None
    program, service, call, flag, bucket, option, value = command
    assert (program, service, flag, bucket) == ("aws", "s3api", "--bucket", "fresh")
    name = "".join(word.capitalize() for word in option.strip("-").split("-"))
    getattr(settings, call.replace("-", "_"))(**{name: _parsed(option, value)})


def _parsed(option: str, text: str):
    if option == "--policy":
        return text
    if text.startswith("{"):
        return json.loads(text)
    pairs = (part.split("=") for part in text.split(","))
    return {name: value == "true" if value in ("true", "false") else value for name, value in pairs}


def test_the_commands_close_the_rows(bucket, tls):
    bucket.put_bucket_versioning(VersioningConfiguration={"Status": "Suspended"})
    bucket.policy(OPEN)
    bucket.keeps(1, 90)
    found = stores.check("s3://fresh").findings
    assert not any(one.state is State.PASS for one in found)
    for one in found:
        paste(bucket, one.fix)
    after = stores.check("s3://fresh")
    assert (after.verdict, after.exit_code) == (State.PASS, 0)
    policy = json.loads(bucket.get_bucket_policy()["Policy"])
    assert OPEN in policy["Statement"]  # what was there stays
    rules = bucket.get_bucket_lifecycle_configuration()["Rules"]
    kept = [one["NoncurrentVersionExpiration"]["NoncurrentDays"] for one in rules]
    assert kept == [30, 90]


# What cannot be seen.


def test_what_may_not_be_asked_is_not_measured(s3, bucket):
    settings = re.compile(r"\?(acl|publicAcc|policy|encrypt|versioning|object-lock|lifecycle)")
    s3.proxy.does(faults.status(403), lambda asked: settings.search(asked.target) is not None)
    found = stores.check("s3://fresh")
    states = {one.rule: one.state for one in found.findings}
    assert states.pop("TK-VAULT-013") is State.FAIL  # the endpoint is seen from here
    assert set(states.values()) == {State.NOT_MEASURED}
    assert found.exit_code == 1


def test_a_bucket_that_is_not_there(s3):
    with pytest.raises(SourceError, match="s3://elsewhere: there is no such bucket"):
        stores.check("s3://elsewhere")


def test_no_store(s3, monkeypatch):
    monkeypatch.setattr("torchkeep.core.sink.s3._ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SourceError, match="no store answered as expected"):
        stores.check("s3://fresh")


@pytest.mark.parametrize("location", ["gs://bucket", "az://container/x"])
def test_other_clouds_are_not_measured_by_name(location):
    found = stores.check(location)
    assert [one.rule for one in found.findings] == [f"TK-VAULT-0{n}" for n in range(11, 17)]
    assert {one.state for one in found.findings} == {State.NOT_MEASURED}
    assert found.exit_code == 3


@pytest.mark.parametrize("location", ["s3://", "s3:///x", "s3://a@b"])
def test_no_bucket(location):
    with pytest.raises(UsageError):
        stores.check(location)

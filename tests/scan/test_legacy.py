import io
import pickle
import struct
import tarfile

import pytest
import torch
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call, name, text

from torchkeep.scan.pickle.policy import Tier
from torchkeep.scan.verdict import Verdict

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)


def saved(value, protocol=2):
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    return out.getvalue()


WEIGHT = torch.arange(6.0).reshape(2, 3)
VALUES = {
    "state": {"w": WEIGHT, "b": WEIGHT[0]},
    "kinds": [torch.zeros(3, dtype=d) for d in (torch.bool, torch.bfloat16, torch.complex64)],
    "empty": torch.zeros(0),
    "parameter": torch.nn.Parameter(WEIGHT),
    "nothing": {"epoch": 3},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_torch_writes_is_clean(value, protocol):
    assert verdict(saved(value, protocol), "model.pt", Tier.WEIGHTS) is Verdict.CLEAN


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_module_with_its_source():
    data = saved(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    assert b"module" in data
    assert verdict(data, "model.pt") is Verdict.CLEAN
    assert verdict(data, "model.pt", Tier.WEIGHTS) is Verdict.NEEDS_REVIEW


def test_something_behind_the_storages():
    assert rules(saved(WEIGHT) + b"PK or whatever", "model.pt") >= {20}


def test_cut_short_and_wrong_sizes():
    data = saved(WEIGHT)
    assert verdict(data[:-1]) is Verdict.MALFORMED
    assert verdict(data[:-32]) is Verdict.MALFORMED
    longer = data[:-32] + struct.pack("<q", 7) + data[-24:]
    assert rules(longer) == {40}
    negative = data[:-32] + struct.pack("<q", -1) + data[-24:]
    assert verdict(negative) is Verdict.MALFORMED


def test_a_tensor_beyond_its_storage():
    data = saved({"w": WEIGHT})
    assert data.count(b"K\x02K\x03\x86") == 1  # the size of the tensor
    assert rules(data.replace(b"K\x02K\x03\x86", b"K\x02K\x63\x86")) == {41}


@pytest.mark.parametrize("place", range(5))
def test_each_of_the_five_pickles_is_followed(place):
    """modelscan looked at the first one only."""
    stream = io.BytesIO(saved(WEIGHT))
    ends = []
    for _ in range(3):
        pickle.Unpickler(stream).load()
        ends.append(stream.tell())
    data = stream.getvalue()
    cuts = [0, *ends]
    if place < 4:
        data = data[: cuts[place]] + call("os", "system") + data[cuts[place] :]
    else:
        data = data[:-32] + call("os", "system") + data[-32:]
    assert verdict(data, "model.pt") in FLAGGED


def test_a_call_instead_of_the_keys():
    assert verdict(MAGIC + call("os", "system")) is Verdict.DANGEROUS
    assert verdict(MAGIC) is Verdict.MALFORMED
    assert verdict(MAGIC + pickle.dumps(1002)) is Verdict.MALFORMED


def tar(**members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def oldest(**changes):
    """A file as torch wrote it in 2016: one storage, one tensor."""
    kind = b"\x80\x02(K\x05" + text("cpu") + name("torch", "FloatStorage") + b"t."
    members = {
        "sys_info": pickle.dumps({}, 2),
        "storages": pickle.dumps(1, 2) + kind + struct.pack("<q2f", 2, 1, 2) + pickle.dumps([], 2),
        "tensors": pickle.dumps(1, 2)
        + (b"\x80\x02(K\x07K\x05" + name("torch", "FloatTensor") + b"t.")
        + struct.pack("<i4xqqq", 1, 2, 1, 0),
        "pickle": b"\x80\x02}" + text("w") + b"K\x07Qs.",
    }
    return tar(**(members | changes))


def test_the_oldest_files_are_tar_archives():
    report = look(oldest(), "model.pt")
    assert (report.verdict, report.issues) == (Verdict.CLEAN, [])


@pytest.mark.parametrize("member", ["pickle", "storages", "tensors", "sys_info"])
def test_each_member_of_the_oldest_files_is_followed(member):
    assert verdict(oldest(**{member: call("os", "system")}), "model.pt") in FLAGGED


def test_the_oldest_files_cut_short():
    assert verdict(oldest(storages=pickle.dumps(1, 2)), "model.pt") is Verdict.MALFORMED
    assert verdict(oldest(tensors=pickle.dumps(-1, 2)), "model.pt") is Verdict.MALFORMED

"""Configurations that name code: each was called a file that no loader opens."""

from __future__ import annotations

import json

import pytest
from doubles.scanning import look, rules, verdict
from doubles.zips import Record, archive
from makers.formats import onnx

from torchkeep.scan.verdict import Verdict

STEP = {"idx": 0, "name": "0", "path": ""}
PIPELINE = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0"}

CODE = {
    "hydra": ({"model": {"_target_": "os.system", "command": "id"}}, Verdict.DANGEROUS),
    "hydra, any name": (
        {"_target_": "hydra.utils.get_method", "path": "os.system"},
        Verdict.NEEDS_REVIEW,
    ),
    "a step": ([STEP | {"type": "my_module.Transformer"}], Verdict.NEEDS_REVIEW),
    "a step that runs": ([STEP | {"type": "os.system"}], Verdict.DANGEROUS),
    "a step of a neighbour": ([STEP | {"type": "sentence_transformersx.Y"}], Verdict.NEEDS_REVIEW),
    "a part": (PIPELINE | {"unet": ["my_unet", "Unet"]}, Verdict.NEEDS_REVIEW),
    "a pipeline": ({"_class_name": ["pipeline", "Mine"]}, Verdict.NEEDS_REVIEW),
    "a pipeline called as a library": ({"_class_name": ["diffusers", "M"]}, Verdict.NEEDS_REVIEW),
    "generation": ({"custom_generate": "somebody/code"}, Verdict.NEEDS_REVIEW),
}


@pytest.mark.parametrize("case", CODE)
def test_json(case):
    value, expected = CODE[case]
    text = json.dumps(value).encode()
    assert verdict(text, "config.json") is expected
    assert verdict(archive(Record(b"model/config.json", text)), "model.zip") is expected


PLAIN = [
    {"_target_": "torch.nn.Linear", "in_features": 3},
    {"optimizer": {"_target_": "functools.partial", "_args_": [1]}},
    [STEP | {"type": "sentence_transformers.models.Transformer"}],
    PIPELINE | {"unet": ["diffusers", "UNet2DConditionModel"], "feature_extractor": [None, None]},
    PIPELINE | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]},
    {"type": "os.system"},
    {"_class_name": "UNet2DConditionModel", "block_out_channels": [320, 640]},
    {"_target_": None, "type": 3, "idx": 0, "name": "", "path": ""},
]


@pytest.mark.parametrize("value", PLAIN, ids=str)
def test_json_without_code(value):
    assert look(json.dumps(value).encode(), "config.json").issues == []


YAML = {
    b"model:\n  _target_: os.system\n  command: id\n": Verdict.DANGEROUS,
    b"model: {_target_: 'os.system'}\n": Verdict.DANGEROUS,
    b'- "_target_" : "posix.system"\n': Verdict.DANGEROUS,
    b"x: !!python/object/apply:os.system ['id']\n": Verdict.DANGEROUS,
    b"x: !!python/name:os.system\n": Verdict.DANGEROUS,
    b"x: !!python/object/new:mine.Thing {}\n": Verdict.NEEDS_REVIEW,
    b"x: !<tag:yaml.org,2002:python/object/apply:os.system> ['id']\n": Verdict.DANGEROUS,
    b"x: !!python/module:mine\n": Verdict.NEEDS_REVIEW,
    b"x: !!python/object:mine.Thing {}\n": Verdict.NEEDS_REVIEW,
    b"x: !!python/tuple [1, 2]\n_target_: torch.nn.Linear\n": Verdict.NOT_A_MODEL,
    b"lr: 0.1\n# python/object/apply:os.system\n": Verdict.NOT_A_MODEL,
}


@pytest.mark.parametrize("text", YAML)
@pytest.mark.parametrize("file", ["hparams.yaml", "conf/config.YML"])
def test_yaml(text, file):
    assert verdict(text, file) is YAML[text]


def test_yaml_within_an_archive():
    text = b"_target_: os.system\n"
    assert rules(archive(Record(b"model_config.yaml", text)), "model.nemo") == {67}


def test_a_compiled_graph_is_machine_code():
    assert rules(onnx(operator="EPContext", domain="com.microsoft"), "m.onnx") == {46}

"""What torch, numpy and others write of their own objects is clean; every class is listed or not
for a reason, so that a new version of torch shows what is missing."""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import pkgutil
import random
import warnings
from functools import cache

import pytest
from doubles.scanning import look, verdict

from torchkeep.scan.pickle.policy import Tier, Use, of
from torchkeep.scan.verdict import Verdict

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
nn = torch.nn

POLICY = of(Tier.MODULE)
SMALL = ((), (2,), (2, 2), (2, 2, 1), (2, 2, 2), (2, 2, 2, 2), (2, 2, [2]))


def classes(root, *bases):
    """Every class below ``bases`` that a package defines, by its full name."""
    package = importlib.import_module(root)
    below = (found.name for found in pkgutil.walk_packages(package.__path__, f"{root}."))
    for name in (root, *(name for name in below if "lightning" not in name)):
        for found in list(vars(importlib.import_module(name)).values()):
            if inspect.isclass(found) and issubclass(found, bases) and found.__module__ == name:
                yield f"{name}.{found.__name__}", found


@cache
def made(kind):
    """An instance with the first small arguments that it takes; None where there are none."""
    for args in SMALL:
        try:
            return kind(*args)
        except Exception:
            continue
    return None


def saved(value, **settings):
    out = io.BytesIO()
    torch.save(value, out, **settings)
    return out.getvalue()


with warnings.catch_warnings():  # torch says of many of them that they are old
    warnings.simplefilter("ignore")
    MODULES = dict(classes("torch.nn", nn.Module)) | dict(classes("torch.ao", nn.Module))
    STEPS = dict(
        classes("torch.optim", torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    )

WRAPPERS = "its own code wraps modules of a process group or of C++, which no pickle can hold"
GRAPH = "it is a graph, and loading it compiles the code that comes with it"
PARAMETRIZED = "torch refuses to save modules that are parametrized"
TOOL = "it compares two models while they run and belongs to none that is saved"
ABSENT = {
    "torch.nn.cpp.ModuleWrapper": WRAPPERS,
    "torch.nn.parallel.DistributedDataParallelCPU": WRAPPERS,
    "torch.nn.parallel.distributed.DistributedDataParallel": WRAPPERS,
    "torch.nn.utils.parametrizations._Orthogonal": PARAMETRIZED,
    "torch.nn.utils.parametrizations._SpectralNorm": PARAMETRIZED,
    "torch.nn.utils.parametrizations._WeightNorm": PARAMETRIZED,
    "torch.nn.utils.parametrize.ParametrizationList": PARAMETRIZED,
    "torch.ao.ns._numeric_suite.Logger": TOOL,
    "torch.ao.ns._numeric_suite.OutputLogger": TOOL,
    "torch.ao.ns._numeric_suite.Shadow": TOOL,
    "torch.ao.ns._numeric_suite.ShadowLogger": TOOL,
    "torch.ao.ns._numeric_suite_fx.OutputComparisonLogger": TOOL,
    "torch.ao.ns._numeric_suite_fx.OutputLogger": TOOL,
    "torch.ao.pruning._experimental.data_sparsifier.base_data_sparsifier._Container": TOOL,
    "torch.ao.quantization._DerivedObserverOrFakeQuantize": TOOL,
    "torch.ao.quantization._correct_bias.MeanShadowLogger": TOOL,
    "torch.ao.quantization.fx.graph_module.FusedGraphModule": GRAPH,
    "torch.ao.quantization.fx.graph_module.ObservedGraphModule": GRAPH,
    "torch.ao.quantization.fx.graph_module.ObservedStandaloneGraphModule": GRAPH,
    "torch.ao.quantization.fx.graph_module.QuantizedGraphModule": GRAPH,
    "torch.optim._multi_tensor.NewCls": "an old alias, written under the name of its class",
}


def is_listed(name):
    grant = POLICY.get(tuple(name.rsplit(".", 1)))
    return grant is not None and grant.use is Use.CLASS


@pytest.mark.parametrize("name", [*MODULES, *STEPS])
def test_every_class_is_listed_or_absent_for_a_reason(name):
    assert is_listed(name) is not (name in ABSENT)


def test_no_reason_is_left_behind():
    assert ABSENT.keys() <= MODULES.keys() | STEPS.keys()


def is_lazy(module):
    return isinstance(module, nn.modules.lazy.LazyModuleMixin)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(MODULES.keys() - ABSENT.keys()))
def test_modules_are_clean(name):
    module = made(MODULES[name])
    if module is None:
        return  # nothing is made of it, or more than numbers is needed: see below
    if is_lazy(module):  # its hook is a method, which a pickle can only name by getattr
        assert {issue.rule for issue in look(saved(module), "a.pt").issues} >= {"TK-SCAN-010"}
        return
    report = look(saved(module), "a.pt")
    assert report.verdict is Verdict.CLEAN, [issue.message.text() for issue in report.issues]


@pytest.mark.filterwarnings("ignore")
def test_most_modules_are_made():
    """The test above says nothing about what could not be made."""
    instances = [made(kind) for kind in MODULES.values()]
    assert instances.count(None) < 0.3 * len(instances)


def test_a_lazy_module_is_clean_once_it_has_seen_data():
    module = nn.LazyLinear(2)
    module(torch.zeros(1, 3))
    assert verdict(saved(module), "a.pt") is Verdict.CLEAN


BUILT = {
    "unflatten": lambda: nn.Unflatten(1, (2, 2)),
    "adaptive softmax": lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 8, [2, 4]),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(2, 1, 2), 2),
    "decoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(2, 1, 2), 1),
    "gelu": lambda: nn.TransformerEncoderLayer(2, 1, 2, activation="gelu"),
    "a function for an activation": lambda: nn.TransformerEncoderLayer(
        2, 1, 2, activation=nn.functional.silu
    ),
    "containers": lambda: nn.ModuleDict({"a": nn.ModuleList([nn.Linear(1, 1)])}),
    "parameters": lambda: nn.ParameterDict({"a": nn.Parameter(torch.zeros(1))}),
    "gradients": lambda: _with_gradients(nn.Linear(1, 1)),
    "half": lambda: nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).half(),
    "meta": lambda: nn.Linear(2, 2, device="meta"),
    "data parallel": lambda: nn.DataParallel(nn.Linear(1, 1)),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(nn.Linear(1, 1)),
    "pruned": lambda: nn.utils.prune.l1_unstructured(nn.Linear(2, 2), "weight", 0.5),
}


def _with_gradients(module):
    module(torch.ones(1, 1)).backward()
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("form", [True, False], ids=["zip", "legacy"])
def test_modules_that_take_more_to_build_are_clean(name, form):
    report = look(saved(BUILT[name](), _use_new_zipfile_serialization=form), "a.pt")
    assert report.verdict is Verdict.CLEAN, [issue.message.text() for issue in report.issues]


def parameters():
    return [nn.Parameter(torch.ones(2, 2))]


def sgd():
    return torch.optim.SGD(parameters(), lr=0.1)


PLANS = {
    "ChainedScheduler": lambda plan: plan([torch.optim.lr_scheduler.StepLR(sgd(), 1)]),
    "CosineAnnealingLR": lambda plan: plan(sgd(), 5),
    "CosineAnnealingWarmRestarts": lambda plan: plan(sgd(), 5),
    "CyclicLR": lambda plan: plan(sgd(), 0.1, 0.2, cycle_momentum=False),
    "ExponentialLR": lambda plan: plan(sgd(), 0.5),
    "MultiStepLR": lambda plan: plan(sgd(), [1, 2]),
    "OneCycleLR": lambda plan: plan(sgd(), 0.1, 5),
    "SWALR": lambda plan: plan(sgd(), 0.1),
    "StepLR": lambda plan: plan(sgd(), 1),
}
NEEDS_FUNCTION = {"LambdaLR", "MultiplicativeLR"}  # a function of the user, which no list knows
BASES = {"LRScheduler", "_LRScheduler", "Optimizer", "NewCls"}
NEEDS_OTHERS = {"SequentialLR"}
STEPPERS = sorted(
    name for name in STEPS if name.rsplit(".", 1)[1] not in BASES | NEEDS_FUNCTION | NEEDS_OTHERS
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STEPPERS)
def test_optimisers_and_schedulers_are_clean(name):
    kind, last = STEPS[name], name.rsplit(".", 1)[1]
    if issubclass(kind, torch.optim.Optimizer):
        step = _stepped(kind)
    else:
        step = PLANS.get(last, lambda plan: plan(sgd()))(kind)
        step.step(*([0.5] if last == "ReduceLROnPlateau" else []))
    state = look(saved({"state": step.state_dict()}), "a.pt")
    assert state.verdict is Verdict.CLEAN, [issue.message.text() for issue in state.issues]


def _stepped(kind):
    optimiser = kind(parameters(), lr=0.1)
    group = optimiser.param_groups[0]["params"]
    group[0].grad = torch.ones(2, 2)
    if kind is torch.optim.SparseAdam:
        group[0].grad = torch.ones(2, 2).to_sparse()
    optimiser.step(*([lambda: torch.zeros(())] if kind is torch.optim.LBFGS else []))
    return optimiser


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, kind in STEPS.items()
        if issubclass(kind, torch.optim.Optimizer) and name in STEPPERS
    ],
)
def test_whole_optimisers_are_clean(name):
    report = look(saved(_stepped(STEPS[name])), "a.pt")
    assert report.verdict is Verdict.CLEAN, [issue.message.text() for issue in report.issues]


GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
STATES = {
    "torch": torch.get_rng_state(),
    "torch.Generator": torch.Generator().get_state(),
    "random": random.getstate(),
    "random.Random": random.Random(1),
    "numpy": np.random.get_state(),
    "RandomState": np.random.RandomState(1),
    "SeedSequence": np.random.SeedSequence(1),
    **{name: np.random.Generator(getattr(np.random, name)(1)) for name in GENERATORS},
    **{f"bare {name}": getattr(np.random, name)(1) for name in GENERATORS},
    **{f"{name} as a state": getattr(np.random, name)(1).state for name in GENERATORS},
}


@pytest.mark.parametrize("name", STATES)
def test_states_of_random_numbers_are_clean(name):
    for protocol in range(2, 6):
        report = look(pickle.dumps(STATES[name], protocol))
        assert report.verdict is Verdict.CLEAN, [issue.message.text() for issue in report.issues]
    assert verdict(saved({"rng": STATES[name]}), "a.pt") is Verdict.CLEAN


# Read in torch 2.13: each of these puts what it is given into attributes, or into a native class
# that holds weights. None imports, opens, evaluates or calls anything of its state.
READ = {
    "Tensor", "Module", "_ConvNd", "LinearPackedParams", "TensorProperties", "LogSoftmax",
    "MultiheadAttention", "Softmax", "Softmin", "AvgPool3d", "RNNBase", "TransformerDecoderLayer",
    "TransformerEncoderLayer", "Upsample", "Optimizer", "Adafactor", "Adadelta", "Adagrad", "Adam",
    "Adamax", "AdamW", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD",
}  # fmt: skip


def listed():
    for (module, name), grant in POLICY.items():
        if module.startswith("torch.") and grant.use is Use.CLASS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield f"{module}.{name}", getattr(importlib.import_module(module), name, None)


def test_the_code_that_takes_state_was_read():
    found = {
        kind.__setstate__.__qualname__.split(".")[0]
        for _, kind in listed()
        if inspect.isclass(kind) and hasattr(kind, "__setstate__")
    }
    # torch.compile, once somebody has used it, puts one of its own around that of modules.
    assert found - {"Module", "install_generation_tagging_init"} == READ - {"Module"}


def test_what_is_listed_exists():
    """A name that is misspelt allows a class that nobody has read."""
    gone = {"torch.storage._UntypedStorage"}  # of torch 1.11 and 1.12
    assert {name for name, kind in listed() if kind is None} == gone

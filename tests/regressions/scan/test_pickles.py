"""Every bypass of scanners of pickles that was ever reported, held against the machine.

Sources: advisories of picklescan, fickling, modelscan and modelaudit, and our own measurements of
them. The payloads are put together opcode by opcode and never unpickled.
"""

from __future__ import annotations

import pickle
import struct

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import WAYS, call, name, text

from torchkeep import scan
from torchkeep.scan.pickle.policy import Tier
from torchkeep.scan.verdict import Verdict

CALLABLES = """
os.system posix.system nt.system subprocess.Popen subprocess.check_output subprocess.run
builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open builtins.getattr
builtins.apply __builtin__.eval __builtin__.file pty.spawn runpy.run_path runpy._run_code
code.InteractiveInterpreter codeop.compile_command codecs.open io.open io.FileIO io.open_code
_io.open importlib.import_module importlib.__import__ imp.load_source pkgutil.resolve_name
pip.main pip._internal.main pip._internal.cli.main.main setuptools.sandbox.run_setup
distutils.spawn.spawn distutils.file_util.copy_file ensurepip.bootstrap venv.create timeit.timeit
timeit.repeat cProfile.run cProfile.runctx profile.run profile.Profile.runctx trace.Trace pdb.run
bdb.Bdb doctest.debug_script unittest.main pydoc.locate pydoc.pipepager
idlelib.pyshell.ModifiedInterpreter idlelib.run.Executive idlelib.autocomplete.AutoComplete
idlelib.calltip.Calltip idlelib.debugobj.ObjectTreeItem lib2to3.pgen2.grammar.Grammar.loads
operator.methodcaller operator.attrgetter _operator.methodcaller functools.partial
functools.reduce itertools.starmap marshal.loads marshal.load types.FunctionType types.CodeType
ctypes.CDLL ctypes.cdll _ctypes.dlopen cffi.FFI webbrowser.open antigravity.geohash socket.socket
socket.create_connection ssl.get_server_certificate http.client.HTTPSConnection
urllib.request.urlopen urllib.request.urlretrieve requests.get ftplib.FTP smtplib.SMTP
telnetlib.Telnet poplib.POP3 imaplib.IMAP4_stream nntplib.NNTP xmlrpc.client.ServerProxy
asyncio.unix_events._UnixSubprocessTransport asyncio.create_subprocess_shell
multiprocessing.spawn.spawn_main multiprocessing.util.spawnv_passfds _posixsubprocess.fork_exec
concurrent.futures.ThreadPoolExecutor threading.Thread signal.signal shutil.rmtree shutil.move
tempfile.mktemp glob.glob fileinput.input pathlib.Path.write_text sqlite3.connect shelve.open
dbm.open pickle.loads pickle.load _pickle.loads dill.loads cloudpickle.loads joblib.load
yaml.unsafe_load jsonpickle.decode logging.config.listen logging.config.fileConfig
logging.FileHandler weakref.finalize atexit.register gc.get_objects inspect.getattr_static
sys.setprofile sys.modules linecache.getlines platform.popen _osx_support._read_output
uuid._get_command_stdout _pyrepl.pager.pipe_pager getpass.getpass cmd.Cmd readline.read_init_file
rlcompleter.Completer tkinter.Tk turtle.Screen aifc.open zipimport.zipimporter site.addsitedir
numpy.f2py.crackfortran.getlincoef numpy.f2py.compile numpy.testing._private.utils.runstring
numpy.load numpy.fromfile numpy.memmap numpy.loadtxt numpy.ndarray.tofile numpy.vectorize
torch.load torch.hub.load torch.jit.load torch.utils.cpp_extension.load_inline
torch._dynamo.guards.GuardBuilder.get torch.fx.experimental.symbolic_shapes.ShapeEnv
torch.utils.bottleneck.__main__.run_autograd_prof torch.utils.collect_env.run
torch.utils._config_module.ConfigModule.load_config torch.distributed.rpc.rpc_sync
torch._inductor.codecache.compile_file torch.package.PackageImporter torch.ops.load_library
torch.serialization.load torch.utils.data.datapipes.utils.decoder.basichandlers
torch.testing._internal.common_utils.run_tests torch.jit.unsupported_tensor_ops.execWrapper
pandas.read_pickle pandas.eval pandas.io.pickle.read_pickle scipy.io.loadmat
sklearn.datasets.fetch_openml keras.models.load_model tensorflow.io.read_file jinja2.Template
ipython.embed IPython.start_ipython psutil.Popen paramiko.SSHClient fabric.Connection
execnet.makegateway random._os.system
"""
GADGETS = CALLABLES.split()
# Names that stand on the list of names for what they are used for, and are no way out.
DOTTED = [
    ("collections", "_sys.modules.get"), ("collections", "OrderedDict.__init__.__globals__"),
    ("torch", "serialization.os.system"), ("numpy", "ndarray.tofile"),
    ("numpy", "load.__globals__"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("datetime", "sys.modules"),
    ("torch.nn.modules.module", "Module.__init__.__globals__"), ("sklearn.base", "os.system"),
    ("random", "_os.system"), ("functools", "partial.__call__"), ("copyreg", "sys.modules"),
    ("torch", "nn.Module"), ("collections", "OrderedDict.fromkeys"), ("builtins", "dict.get"),
    ("builtins", "object.__subclasses__"), ("builtins", "str.format"),
    ("numpy", "dtype.newbyteorder"),
    ("argparse", "_sys.exit"), ("decimal", "Decimal.__class__"), ("uuid", "os.popen"),
]  # fmt: skip


def stream(body, protocol=4):
    return b"\x80" + bytes([protocol]) + body + b"."


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets(gadget):
    assert len(GADGETS) >= 100
    module, _, attribute = gadget.rpartition(".")
    for way in WAYS:
        data = call(module, attribute, way)
        for tier in Tier:
            assert verdict(data, tier=tier) in FLAGGED, way
    assert verdict(data[2:], "model.bin") in FLAGGED  # without a header
    assert verdict(b"\0data" + call(module, attribute), "weights") is not Verdict.CLEAN


@pytest.mark.parametrize(("module", "attribute"), DOTTED)
def test_dotted_names(module, attribute):
    for way in WAYS:
        assert verdict(call(module, attribute, way)) in FLAGGED


def test_a_name_that_runs_code_is_called_dangerous():
    known = [g for g in GADGETS if verdict(call(*g.rsplit(".", 1))) is Verdict.DANGEROUS]
    assert len(known) >= 0.85 * len(GADGETS), sorted(set(GADGETS) - set(known))


UNCALLED = {
    "a name alone": name("os", "system"),
    "popped again": name("os", "system") + b"0N",
    "into the memo": name("os", "system") + b"\x940N",
    "dotted through a list": name("collections", "OrderedDict") + name("os", "system") + b"\x86",
}


@pytest.mark.parametrize("body", UNCALLED.values(), ids=UNCALLED)
def test_importing_runs_code_too(body):
    assert verdict(stream(body)) in FLAGGED


PARSING = {
    # picklescan #14, modelscan #54: explicit and implicit places of the memo
    "put and memoize mixed": stream(
        text("os") + b"q\x05" + text("x") + b"\x94" + text("system") + b"\x940h\x05h\x02\x93"
        + text("id") + b"\x85R"
    ),
    # picklescan CVE-2025-71325: arguments of STACK_GLOBAL that lie further away
    "stack global from afar": stream(
        text("os") + text("system") + b"NN00\x93" + text("id") + b"\x85R"
    ),
    "stack global by dup": stream(text("pip") + b"2" + b"\x93" + b")R"),
    "stack global computed": stream(
        name("builtins", "str") + text("os") + b"\x85R" + text("system") + b"\x93)R"
    ),
    # the stream breaks after the call: everything before was run
    "broken behind the call": call("os", "system")[:-1] + b"\xff",
    "cut behind the call": call("os", "system")[:-1],
    "pickle behind a pickle": pickle.dumps({"a": 1}) + call("os", "system"),
    "pickle behind noise": pickle.dumps({"a": 1}) + b"\0" * 100 + call("os", "system"),
    # fickling GHSA-mxhj: OBJ and POP leave nothing behind
    "obj and pop": call("os", "system", "OBJ+POP"),
    "inst of protocol 0": b"(S'id'\nios\nsystem\n.",
    "protocol 0": b"cos\nsystem\n(S'id'\ntR.",
    "protocol 0 in a text": b"cos\nsystem\n(S'id'\ntR.\n\nREADME\n======\nThis is a model.\n",
    "protocol 1": b"cos\nsystem\nq\x00U\x02idq\x01\x85R.",
    "python 2 names": b"c__builtin__\neval\n(S'1'\ntR.",
    "python 2 modules": b"ccommands\ngetoutput\n(S'id'\ntR.",
    # cpython #154848: the C unpickler lets opcodes cross the end of a frame
    "across a frame": b"\x80\x04\x95\x03\0\0\0\0\0\0\0Ncos\nsystem\n" + text("id") + b"\x85R.",
    "hidden behind a frame": b"\x80\x04\x95\x04\0\0\0\0\0\0\0N.N." + call("os", "system"),
    "frame in a frame": b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0"
    + call("os", "system")[2:],
    "protocol in midstream": b"\x80\x04N0\x80\x02c__builtin__\neval\n" + text("1") + b"\x85R.",
    "harmless across a frame": b"\x80\x04\x95\x03\0\0\0\0\0\0\0NG\0" + bytes(7) + b"0.",
    "long bytes across a frame": b"\x80\x04\x95\x06\0\0\0\0\0\0\0B"
    + struct.pack("<I", 2 << 20) + bytes(2 << 20) + b".",
    "bytes left in a frame": b"\x80\x04\x95\x05\0\0\0\0\0\0\0N.aaa",
    # the extension registry
    "ext1": stream(b"\x82\x01" + text("id") + b"\x85R"),
    "ext2": stream(b"\x83\x01\x01" + text("id") + b"\x85R"),
    "ext4": stream(b"\x84\x01\0\0\0" + text("id") + b"\x85R"),
    # modelscan #330: state that is set on a module or on a function
    "build on a name": stream(name("numpy", "__builtins__") + b"}" + text("x") + b"Nsb"),
    "build on a function": stream(
        name("torch._utils", "_rebuild_parameter") + b"}" + text("__code__") + b"Nsb"
    ),
    "build on a class": stream(
        name("torch.nn.modules.linear", "Linear") + b"}" + text("forward") + b"Nsb"
    ),
    "items put into a class": stream(name("collections", "OrderedDict") + text("a") + b"Ns"),
    "append to a call": stream(name("torch", "device") + text("cpu") + b"\x85RNa"),
    # what is called is what a call gave back
    "call of a result": stream(
        name("collections", "OrderedDict") + b")R" + text("x") + b"\x85R"
    ),
    "call of a text": stream(text("os") + b")R"),
    "rebuild with another function": stream(
        name("torch._tensor", "_rebuild_from_type_v2") + b"(" + name("os", "system")
        + name("torch", "Tensor") + text("id") + b"\x85Nt" + b"R"
    ),
    "rebuild with a class": stream(
        name("torch._tensor", "_rebuild_from_type_v2") + b"(" + name("builtins", "str")
        + name("torch", "Tensor") + text("id") + b"\x85Nt" + b"R"
    ),
    "default factory": stream(
        name("collections", "defaultdict") + name("os", "getcwd") + b"\x85R" + text("x") + b"Ns"
    ),
    "reconstructor of a function": stream(
        name("copyreg", "_reconstructor") + b"(" + name("os", "system") + text("x") + b"NtR"
    ),
    "encode by another codec": stream(
        name("_codecs", "encode") + text("x") + text("rot13") + b"\x86R"
    ),
    "nested bytes": stream(
        name("torch.storage", "_load_from_bytes") + b"B"
        + struct.pack("<I", len(call("os", "system"))) + call("os", "system") + b"\x85R"
    ),
    "nested bytes as text": stream(
        name("torch.storage", "_load_from_bytes") + name("_codecs", "encode")
        + text(call("os", "system").decode("latin-1")) + text("latin1") + b"\x86R\x85R", 2
    ),
    "nested loads": stream(name("pickle", "loads") + b"C\x02N.\x85R"),
    "persistent id": stream(b"Pos.system\n"),
    "persistent tuple": stream(text("storage") + name("os", "system") + b"\x86Q"),
    "buffer": stream(b"\x97", 5),
}  # fmt: skip


@pytest.mark.parametrize("data", PARSING.values(), ids=PARSING)
def test_parsing(data):
    assert verdict(data) in FLAGGED
    assert verdict(data, "weights.bin", Tier.WEIGHTS) in FLAGGED


def test_a_pickle_hidden_in_an_array_of_joblib():
    """Behind a wrapper, the bytes of the array are opcodes to whoever takes it for a pickle."""
    wrapper = (
        name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + text("subclass")
        + name("numpy", "ndarray") + text("shape") + b"K\x28\x85" + text("order") + text("C")
        + text("dtype") + name("numpy", "dtype") + text("u1") + b"\x89\x88\x87R(K\x03" + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + text("allow_mmap") + b"\x88ub"
    )  # fmt: skip
    hidden = call("os", "system")[2:].ljust(40, b"N")
    report = look(stream(wrapper + hidden))
    assert report.verdict is Verdict.DANGEROUS
    assert verdict(stream(wrapper + bytes(40))) is Verdict.CLEAN
    assert verdict(stream(wrapper + bytes(40) + call("os", "system")[2:-1])) in FLAGGED
    assert verdict(stream(wrapper + bytes(20))) in FLAGGED  # cut short


DOS = {
    "dup laughs": stream(text("ha") + b"2\x86" * 200),
    "memo laughs": stream(text("ha") + b"\x94" + (b"0(" + b"h\x00" * 10 + b"tq\x00") * 12),
    "deep tuples": stream(b"N" + b"\x85" * 60_000),
    "deep lists": stream(b"]" * 3000 + b"a" * 2999),
    "hashed laughs": stream(b"}" + b"N" + b"2\x86" * 60 + b"Ns"),
    "laughs in a set": stream(b"\x8f(" + b"N" + b"2\x86" * 60 + b"\x90"),
    "huge put": stream(b"Nr\xff\xff\xff\x7f"),
    "huge put of protocol 0": b"I1\np4294967290\n.",
    "negative put": b"I1\np-5\n.",
    "deep nesting": stream(b"(" * 60_000 + b"t" * 60_000),
    "huge bytes": stream(b"\x8e" + struct.pack("<Q", 1 << 60)),
    "huge text": stream(b"\x8d" + struct.pack("<Q", 1 << 62)),
    "huge array": stream(b"\x96" + struct.pack("<Q", 1 << 62), 5),
    "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "long number": stream(b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)),
    "negative long": stream(b"\x8b" + struct.pack("<i", -5)),
    "long decimal": b"I" + b"9" * 100_000 + b"\n.",
    "long line": b"V" + b"a" * (3 << 20) + b"\n.",
}


@pytest.mark.parametrize("data", DOS.values(), ids=DOS)
def test_streams_that_take_memory_or_time(data):
    assert verdict(data) in FLAGGED
    assert 18 in rules(data) or 19 in rules(data) or 62 in rules(data)


def test_many_steps_take_linear_time():
    assert verdict(stream(b"N0" * 300_000 + b"N")) is Verdict.CLEAN


def test_a_function_within_an_argument_is_no_data():
    # OrderedDict([(torch._utils._rebuild_parameter,)]): what gets it could call it
    stream = b"\x80\x02ccollections\nOrderedDict\n]ctorch._utils\n_rebuild_parameter\n\x85a\x85R."
    found = scan.data(stream, "nested.pkl")
    assert found.verdict is scan.Verdict.DANGEROUS


def test_an_argument_that_holds_itself_ends():
    stream = b"\x80\x02ccollections\nOrderedDict\n]q\x00h\x00a\x85R."
    assert scan.data(stream, "loop.pkl").verdict is scan.Verdict.CLEAN


@pytest.mark.parametrize("protocol", range(6))
def test_constants_of_python_are_data(protocol):
    data = pickle.dumps({"index": (..., NotImplemented)}, protocol)
    assert verdict(data) is Verdict.CLEAN
    assert verdict(data, tier=Tier.WEIGHTS) is Verdict.DANGEROUS  # torch's weights_only has neither


def test_constants_of_python_are_not_called():
    assert verdict(b"\x80\x02" + name("builtins", "Ellipsis") + b")R.") is Verdict.DANGEROUS

"""Names that are known to run code, open files or reach the network.

They sharpen the wording of a refusal and decide nothing: what the policy does not list is refused
whether it stands here or not.
"""

from __future__ import annotations

from typing import Final

# Packages of which every callable counts.
_PACKAGES: Final = frozenset(
    """
    os posix nt posixpath ntpath subprocess pty commands popen2 sys runpy code codeop codecs imp
    importlib pkgutil zipimport pip setuptools distutils ensurepip venv site ctypes cffi _ctypes
    socket _socket ssl http urllib urllib2 urllib3 requests httpx aiohttp ftplib smtplib telnetlib
    poplib imaplib nntplib xmlrpc socketserver asyncio webbrowser antigravity multiprocessing
    _posixsubprocess concurrent threading _thread signal shutil tempfile glob fileinput io _io
    builtins __builtin__ types marshal pickle _pickle cPickle dill cloudpickle joblib shelve dbm
    sqlite3 copyreg pdb bdb cProfile profile _lsprof trace timeit doctest unittest test pydoc
    idlelib tkinter turtle inspect dis ast operator _operator functools itertools weakref gc atexit
    faulthandler logging warnings linecache traceback platform _osx_support uuid getpass cmd
    readline rlcompleter _pyrepl lib2to3 ipython IPython numpy.f2py numpy.testing numpy.distutils
    torch.hub torch.jit torch._dynamo torch._inductor torch.utils.cpp_extension torch.package
    torch.distributed torch.fx torch.utils.bottleneck torch.utils.collect_env torch.ops
    torch._C._jit_pass jinja2 mako yaml ruamel execnet fabric paramiko psutil sh plumbum pexpect
    """.split()
)
# Single names in packages that hold harmless ones too.
_NAMES: Final = frozenset(
    """
    numpy.load numpy.fromfile numpy.memmap numpy.loadtxt numpy.genfromtxt numpy.save numpy.savetxt
    numpy.core.memmap torch.load torch.save torch.serialization.load torch.compile pandas.eval
    pandas.read_pickle pandas.read_csv pandas.io.pickle.read_pickle scipy.io.loadmat
    sklearn.utils.Bunch.__getattr__ torch.storage._load_from_bytes keras.models.load_model
    tensorflow.keras.models.load_model random._os
    """.split()
)
_HARMLESS_BUILTINS: Final = frozenset(
    {"print", "len", "sum", "min", "max", "abs", "repr", "sorted"}
)


def is_dangerous(name: str) -> bool:
    """Whether ``module.name`` is known to be a way to run code."""
    if name in _NAMES:
        return True
    module, _, last = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return last not in _HARMLESS_BUILTINS
    parts = module.split(".")
    return any(".".join(parts[:n]) in _PACKAGES for n in range(1, len(parts) + 1))

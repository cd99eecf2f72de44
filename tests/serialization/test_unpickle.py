"""What a malicious pickle can try, and that nothing of it is ever run."""

import collections
import io
import pickle
import random
import shutil
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dynjax
from dynjax.serialization import unpickle
from dynjax.serialization.names import NAMES

from .archives import archive, tensor

GADGETS = """
os.system posix.system nt.system os.popen os.execv os.spawnl os.remove os.fork pty.spawn
subprocess.Popen subprocess.run subprocess.call subprocess.check_output subprocess.getoutput
builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open builtins.getattr
builtins.setattr builtins.delattr builtins.globals builtins.vars builtins.map builtins.filter
builtins.apply builtins.execfile builtins.breakpoint builtins.input builtins.type builtins.object
builtins.classmethod builtins.memoryview builtins.range builtins.print builtins.exit builtins.dict
importlib.import_module importlib.__import__ runpy.run_path runpy.run_module runpy._run_code
code.InteractiveInterpreter code.interact codeop.compile_command timeit.timeit trace.Trace.run
cProfile.run profile.run bdb.Bdb.run pdb.run pdb.Pdb doctest.debug_script
pickle.loads pickle.load pickle.Unpickler _pickle.loads marshal.loads marshal.load shelve.open
copyreg._reconstructor copyreg.__newobj__ copyreg.__newobj_ex__ copy_reg._reconstructor
operator.attrgetter operator.methodcaller operator.itemgetter operator.call _operator.attrgetter
functools.partial functools.reduce functools.partialmethod itertools.starmap itertools.accumulate
types.FunctionType types.CodeType types.MethodType types.LambdaType types.ModuleType
ctypes.CDLL ctypes.cdll.LoadLibrary ctypes.memmove ctypes.string_at _ctypes.dlopen
sys.modules sys.exit sys.settrace sys.setprofile sys._getframe atexit.register signal.signal
threading.Thread _thread.start_new_thread multiprocessing.Process concurrent.futures.thread.Future
asyncio.run asyncio.create_subprocess_shell sched.scheduler gc.get_objects weakref.finalize
socket.socket urllib.request.urlopen http.client.HTTPConnection smtplib.SMTP ftplib.FTP
webbrowser.open shutil.rmtree shutil.copyfile tempfile.NamedTemporaryFile pathlib.Path.unlink
pathlib.PosixPath io.open io.FileIO _io.FileIO zipimport.zipimporter pkgutil.resolve_name
logging.config.dictConfig logging.FileHandler inspect.getattr_static pydoc.pipepager pydoc.locate
distutils.spawn.spawn ensurepip._run_pip venv.create lib2to3.pgen2.driver.load_packaged_grammar
idlelib.pyshell.ModifiedInterpreter commands.getoutput antigravity.geohash this.s
_posixsubprocess.fork_exec multiprocessing.util.spawnv_passfds asyncio.create_subprocess_exec
pip.main pip._internal.main setuptools.sandbox.run_setup cProfile.runctx weakref.ref weakref.proxy
collections.UserDict collections.ChainMap functools.singledispatch functools.cached_property
contextlib.ExitStack string.Formatter.vformat types.SimpleNamespace typing.get_type_hints
torch.utils.data.DataLoader dynjax.utils.data.transport.unpacked dynjax.core.later.load
sqlite3.connect dbm.open mailcap.findmatch unittest.mock._importer test.support.run_code
numpy.load numpy.f2py.crackfortran.getlincoef numpy.testing._private.utils.runstring numpy.save
jax.numpy.load jax.pure_callback jax.experimental.io_callback
torch.load torch.storage._load_from_bytes torch.hub.load torch.jit.load torch.utils._config_module
torch._dynamo.guards.GuardBuilder.get torch.fx.graph_module.reduce_graph_module torch.save
torch.nn.modules.linear.Linear torch.nn.Module torch._C._jit_pass torch.serialization.load
dynjax.load dynjax.save dynjax.nn.Module dynjax.tensor.tensor._rebuild dynjax.interop.jax.to_jax
collections.OrderedDict.fromkeys collections.defaultdict collections.namedtuple collections._sys
torch.Size.__reduce__ torch.Tensor.__class__ torch.device.__init__ _codecs.lookup _codecs.register
codecs.encode codecs.decode codecs.open builtins.set.__subclasses__ builtins.complex.__class__
importlib.util.spec_from_file_location importlib.machinery.SourceFileLoader importlib.reload
ctypes.PyDLL ctypes.pythonapi.PyRun_SimpleString ctypes.util.find_library ctypes.CFUNCTYPE
codecs.lookup_error codecs.iterdecode encodings.search_function builtins.super builtins.property
builtins.__build_class__ builtins.__loader__ builtins.staticmethod builtins.Exception os._wrap_close
os.posix_spawn os.execvp os.putenv os.startfile os.kill uuid._get_command_stdout platform.popen
pydoc.pager pty._copy fcntl.ioctl mmap.mmap multiprocessing.reduction.DupFd multiprocessing.Pool
multiprocessing.managers.BaseManager xmlrpc.client.ServerProxy telnetlib.Telnet nntplib.NNTP
imaplib.IMAP4 gzip.open bz2.open lzma.open tarfile.open zipfile.ZipFile fileinput.input csv.reader
linecache.getlines pstats.Stats _testcapi.run_in_subinterp _xxsubinterpreters.run_string
_interpreters.exec faulthandler._sigsegv readline.read_init_file rlcompleter.Completer tkinter.Tk
curses.wrapper syslog.syslog site.execsitecustomize zipapp.create_archive compileall.compile_file
py_compile.compile unittest.main doctest.testfile symtable.symtable dataclasses.make_dataclass
enum.Enum abc.ABCMeta string.Template.substitute re._compile random.Random secrets.token_bytes
ssl.SSLContext email.message_from_file mimetypes.read_mime_types collections.deque decimal.Decimal
datetime.datetime array._array_reconstructor numpy.core.multiarray._reconstruct numpy.memmap
numpy.ndarray numpy.random._pickle.__randomstate_ctor numpy.fromfile numpy.lib.npyio.NpzFile
torch._utils._rebuild_qtensor torch._utils._rebuild_wrapper_subclass
torch._utils._rebuild_sparse_tensor torch._utils._rebuild_device_tensor_from_numpy
torch._tensor._rebuild_from_type
torch.multiprocessing.reductions.rebuild_storage_fd torch.package.PackageImporter
torch.distributed.rpc.rpc_sync torch.ops.load_library torch.classes.load_library torch._C._load
torch.utils.cpp_extension.load torch.compile torch.fx.symbolic_trace torch.ScriptModule
""".split()


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """What gadgets would call leaves a trace; so would Python's own unpickler."""

    def ran(*_, **__):
        raise AssertionError("something was executed")

    for name in ("system", "popen", "remove"):
        monkeypatch.setattr(f"os.{name}", ran)
    for target in ("builtins.eval", "pickle.loads", "pickle.load"):
        monkeypatch.setattr(target, ran)


def split(full):
    module, _, name = full.rpartition(".")
    return module, name


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


ARGUMENT = b"(" + text("echo pwned") + b"t"
SPELLINGS = {
    "GLOBAL, REDUCE": lambda m, n: f"c{m}\n{n}\n".encode() + ARGUMENT + b"R",
    "STACK_GLOBAL, REDUCE": lambda m, n: text(m) + text(n) + b"\x93" + ARGUMENT + b"R",
    "GLOBAL, NEWOBJ": lambda m, n: f"c{m}\n{n}\n".encode() + ARGUMENT + b"\x81",
    "INST": lambda m, n: b"(" + text("echo pwned") + f"i{m}\n{n}\n".encode(),
    "GLOBAL, OBJ": lambda m, n: b"(" + f"c{m}\n{n}\n".encode() + text("echo pwned") + b"o",
    "GLOBAL, NEWOBJ_EX": lambda m, n: f"c{m}\n{n}\n".encode() + ARGUMENT + b"}\x92",
    "GLOBAL, BUILD": lambda m, n: f"c{m}\n{n}\n".encode() + b"}" + text("a") + b"K\x01sb",
    "GLOBAL alone": lambda m, n: f"c{m}\n{n}\n".encode(),
    "in a key": lambda m, n: b"}" + f"c{m}\n{n}\n".encode() + b"K\x01s",
    "thrown away": lambda m, n: f"c{m}\n{n}\n".encode() + ARGUMENT + b"R0N",
    "through the memo": lambda m, n: f"c{m}\n{n}\n".encode() + b"q\x000h\x00" + ARGUMENT + b"R",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_gadgets_are_refused_by_name(spelling):
    for full in GADGETS:
        module, name = split(full)
        program = b"\x80\x02" + SPELLINGS[spelling](module, name) + b"."
        with pytest.raises(pickle.UnpicklingError) as refused:
            unpickle.loads(program, NAMES)
        assert f"{module}.{name}" in str(refused.value), full
        assert "nothing was executed" in str(refused.value)


@pytest.mark.parametrize("full", GADGETS[:12])
def test_gadgets_are_refused_in_files(full):
    program = b"\x80\x02" + SPELLINGS["GLOBAL, REDUCE"](*split(full)) + b"."
    legacy = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {})) + program
    for data in (archive(program), legacy):
        with pytest.raises(pickle.UnpicklingError, match=full.replace(".", r"\.")):
            dynjax.load(io.BytesIO(data), weights_only=False)


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_gadgets_as_pickle_writes_them(protocol):
    for call in ((shutil.rmtree, ("/nowhere",)), (getattr, ("", "join")), (sys.exit, (1,))):
        data = pickle.dumps([Evil(*call)], protocol)
        with pytest.raises(pickle.UnpicklingError):
            unpickle.loads(data, NAMES)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"N\x98.", "READONLY_BUFFER"),
        (b"Pevil\n.", "PERSID"),
        (text("evil") + b"Q.", "outside of the pickle"),
        (b"\xff.", "opcode"),
        (text("os") + b"K\x01\x93.", "STACK_GLOBAL"),
        (b"ctorch\nSize\n}R.", "tuple"),
        (b"K\x01)R.", "call"),
        (text("x") + b")R.", "call"),
        (b"ctorch\nfloat32\n)R.", "call of 'dtype'"),
        (b"ctorch\nTensor\n)R.", "call of 'torch.Tensor'"),
        (b"ctorch\nFloatStorage\n)R.", "call"),
        (b"ctorch\nSize\n(K\x01K\x02tR.", "wrong arguments"),
        (b"ctorch\nSize\n(" + text("ab") + b"tR.", "integers"),
        (b"ctorch\ndevice\n(N" + b"tR.", "text"),
        (b"c_codecs\nencode\n(" + text("x") + text("rot13") + b"tR.", "encoding 'rot13'"),
        (b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.", "encoding"),
        (b"cbuiltins\ncomplex\n(" + text("1") + text("2") + b"tR.", "floats"),
        (b"ccollections\nCounter\n(K\x05tR.", "dictionary"),
        (b"}}b.", "state"),
        (b"]K\x01K\x02s.", "set items of list"),
        (b"}K\x01a.", "append"),
        (b"](K\x01\x90.", "add"),
        (b"}(K\x01u.", "no value"),
        (b"}]Ns.", "unhashable"),
        (b"K\x01K\x02.", "more or less than one"),
        (b"(K\x01.", "more or less than one"),
        (b".", "more or less than one"),
        (b"h\x05.", "BINGET"),
        (b"q\x05.", "BINPUT"),
        (b"a.", "APPEND"),
        (b"t.", "TUPLE"),
        (b"\x87.", "TUPLE3"),
        (b"I1x\n.", "INT"),
        (b"S'\\x41'\n.", "STRING"),
        (b"X\x01\x00\x00\x00\xff.", "BINUNICODE"),
        (b"I" + b"1" * 5000 + b"\n.", "INT"),
    ],
)
def test_programs_that_are_refused(program, why):
    with pytest.raises(pickle.UnpicklingError, match=why):
        unpickle.loads(program, NAMES)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"\x80",
        b"]",
        b"X\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc",
        b"\x96\x00\x00\x00\x00\x00\x00\x00\x7fabc",
        b"\x8b\xff\xff\xff\x7f",
        b"ctorch",
        b"\x95\xff",
    ],
)
def test_programs_that_are_cut_off(program):
    with pytest.raises(EOFError, match="cut off"):
        unpickle.loads(program, NAMES)


ORDERED = b"ccollections\nOrderedDict\n)R"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (ORDERED, "Unsupported attribute '__class__'"),
        (tensor((1,), (1,)), "Unsupported attribute '__class__'"),
        (b"ctorch\nSize\n)R", "state for Size"),
        (b"ctorch\nfloat32\n", "state for dtype"),
        (b"ctorch\nTensor\n", "state for Global"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n", "state for Global"),
        (b"}", "state for dict"),
        (b"N", "state for NoneType"),
    ],
)
def test_state_reaches_no_class(target, why):
    state = b"}" + text("__class__") + b"ctorch\nTensor\ns"
    with pytest.raises(pickle.UnpicklingError, match=why):
        dynjax.load(io.BytesIO(archive(b"\x80\x02" + target + state + b"b.", [bytes(4)])))


@pytest.mark.parametrize(
    "name", ["__setstate__", "__reduce__", "__dict__", "keys", "move_to_end", "__getitem__"]
)
def test_state_hides_no_method(name):
    state = b"}" + text(name) + b"Nsb."
    with pytest.raises(pickle.UnpicklingError, match=f"Unsupported attribute '{name}'"):
        dynjax.load(io.BytesIO(archive(b"\x80\x02" + ORDERED + state)))


@pytest.mark.parametrize("state", [b"N", b"}N\x86", b"]", b"K\x01", b"}K\x01Ns", b"})Ns"])
def test_state_is_names_and_values(state):
    with pytest.raises(pickle.UnpicklingError, match="attribute"):
        dynjax.load(io.BytesIO(archive(b"\x80\x02" + ORDERED + state + b"b.")))


DOUBLING = b"N" + b"q\x000h\x00h\x00\x86" * 60  # a tuple whose text or hash would never end


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (DOUBLING + b"Q", "reference to tuple"),
        (b"(" + text("storage") + DOUBLING + text("0") + text("cpu") + b"K\x01tQ", "type tuple"),
        (b"c_codecs\nencode\n(" + text("x") + DOUBLING + b"tR", "encoding tuple"),
        (b"cnumpy\ndtype\n(" + DOUBLING + b"tR", "type tuple"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(N" + DOUBLING + b")}tR", "'tuple'"),
        (ORDERED + b"}" + DOUBLING + b"Nsb", "too deep"),
        (b"N" + b"\x85" * 50_000 + b"Q", "reference to tuple"),
    ],
)
def test_messages_end(program, why):
    with pytest.raises(pickle.UnpicklingError, match=why):
        dynjax.load(io.BytesIO(archive(b"\x80\x02" + program + b".")))


@pytest.mark.parametrize("keys", [b"(" + DOUBLING + b"l", b"(]l", b"}", b"(K\x01K\x01l"])
def test_names_of_storages_in_the_legacy_format(keys):
    head = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}, []))
    with pytest.raises(pickle.UnpicklingError, match="list of storages"):
        dynjax.load(io.BytesIO(head + b"\x80\x02" + keys + b"."))


LONG = b"B" + struct.pack("<I", 1 << 17) + bytes(1 << 17)
MANY = b"(" + b"".join(b"M" + struct.pack("<H", k) for k in range(1 << 16)) + b"l"
NAMED = b"}(" + b"".join(text(f"k{k}") + b"N" for k in range(10_000)) + b"u"
PAIRS = b"(" + b"".join(text(f"k{k}") + b"N\x86" for k in range(10_000)) + b"l"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("builtins.bytearray", LONG),
        ("builtins.set", MANY),
        ("torch.Size", MANY),
        ("collections.Counter", NAMED),
        ("collections.OrderedDict", PAIRS),
    ],
)
def test_copies_of_one_object_are_bounded_by_the_file(name, given):
    """A call takes a few bytes, and each would copy all that it is given."""
    program = given + b"q\x010c" + "\n".join(split(name)).encode() + b"\nq\x020]("
    program += b"h\x02h\x01\x85R" * 5000 + b"e."
    tracemalloc.start()
    try:
        with pytest.raises(pickle.UnpicklingError, match="copies"):
            unpickle.loads(program, NAMES)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


def test_copies_of_attributes_are_bounded_by_the_file():
    each = b"ccollections\nOrderedDict\n)Rh\x01b"
    program = b"\x80\x02" + NAMED + b"q\x010](" + each * 1000 + b"e."
    with pytest.raises(pickle.UnpicklingError, match="copies"):
        dynjax.load(io.BytesIO(archive(program)))


def test_depth_costs_nothing_but_deep_keys_are_refused():
    depth = 20_000
    nested = unpickle.loads(b"]" * depth + b"a" * (depth - 1) + b".", NAMES)
    assert type(nested) is list
    deep = b"N" + b"\x85" * depth
    unpickle.loads(deep + b".", NAMES)
    for key in (b"}" + deep + b"Ns.", b"\x8f(" + deep + b"\x90.", b"(" + deep + b"\x91."):
        with pytest.raises(pickle.UnpicklingError, match="too deep"):
            unpickle.loads(key, NAMES)


def test_keys_that_would_be_hashed_forever_are_refused():
    doubling = b"N" + b"q\x000h\x00h\x00\x86" * 60
    assert unpickle.loads(doubling + b".", NAMES)
    with pytest.raises(pickle.UnpicklingError, match="too"):
        unpickle.loads(b"}" + doubling + b"Ns.", NAMES)


def test_memory_is_bounded_by_the_file():
    programs = [b"Nr\xff\xff\xff\xff.", b"X\xff\xff\xff\x7f" + b"a" * 9]
    tracemalloc.start()
    try:
        for program in programs:
            try:
                unpickle.loads(program, NAMES)
            except EOFError:
                pass
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


VALUES = [
    None, True, False, 0, -1, 255, 256, 2**31, -(2**31) - 1, 2**70, -(2**2000), 1.5, float("inf"),
    "", "text", "ä\ud800", "x" * 300, b"", b"\x00\xff", b"y" * 300, bytearray(b"z"), 3 - 2j,
    [], [1, [2]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": {1: 2}, (1, "b"): None},
    set(), {1, 2}, collections.OrderedDict(b=1, a=2), collections.Counter("aab"),
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values_read_as_pickle_wrote_them(value, protocol):
    read = unpickle.loads(pickle.dumps(value, protocol), NAMES)
    assert read == value and type(read) is type(value)


def test_one_object_twice_stays_one():
    inner = [1]
    a, b = unpickle.loads(pickle.dumps((inner, inner), 2), NAMES)
    assert a is b
    loop = []
    loop.append(loop)
    read = unpickle.loads(pickle.dumps(loop, 2), NAMES)
    assert read[0] is read


def test_strings_of_python_2():
    assert unpickle.loads(b"U\x02\xc3\xa4.", NAMES) == "ä"
    assert unpickle.loads(b"T\x01\x00\x00\x00\xe4.", NAMES, encoding="latin1") == "ä"
    assert unpickle.loads(b"U\x01\xe4.", NAMES, encoding="bytes") == b"\xe4"


def test_random_programs_end_in_a_value_or_a_clear_error():
    draw = random.Random(0)
    opcodes = b"".join(unpickle._OPCODES) + b".." + bytes(range(0, 256, 7))
    full = ["torch.Size", "torch.device", "collections.OrderedDict", "os.system"]
    names = [SPELLINGS["GLOBAL alone"](*split(name)) for name in full]
    for _ in range(3000):
        parts = [bytes([draw.choice(opcodes)]) for _ in range(draw.randrange(40))]
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(names))
        try:
            unpickle.loads(b"".join(parts), NAMES)
        except (pickle.UnpicklingError, EOFError):
            pass


LIKELY = (
    "torch.Size os.system torch._utils._rebuild_tensor_v2 collections.OrderedDict "
    "torch.FloatStorage"
).split()
PIECES = [
    *(SPELLINGS["GLOBAL alone"](*split(name)) for name in LIKELY),
    *(bytes([code]) for code in b"()]}t.RsbuaeQ0N\x81\x85\x86\x92\x93"),
    *map(text, ("storage", "0", "cpu", "__setstate__", "__dict__")),
    *(b"K\x03", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"q\x00", b"h\x00"),
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.integers(-40, 40))
def test_files_made_of_likely_pieces_end_in_a_value_or_a_clear_error(pieces, cut):
    """Whole files, of pickles that go further than random bytes, cut off at either end or not."""
    data = archive(b"\x80\x02" + b"".join(pieces) + b".", [bytes(8)])
    data = data[:cut] if cut < 0 else data[cut // 8 :]
    try:
        dynjax.load(io.BytesIO(data))
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        pass


# --- NumPy's numbers --------------------------------------------------------------------------

NUMBERS = [
    np.float64(1.5),
    np.float32(-0.1),
    np.float16(2),
    np.int32(-7),
    np.uint8(200),
    np.int64(-(2**60)),
    np.bool_(True),
    np.complex64(1 - 2j),
    np.float64("nan"),
]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_numbers_of_numpy_are_read(number, protocol):
    state = {"best": number, "again": [number, number]}
    (read, again, _) = (lambda r: (r["best"], *r["again"]))(
        dynjax.load(io.BytesIO(archive(pickle.dumps(state, protocol))))
    )
    assert type(read) is type(again) is type(number)
    assert read.tobytes() == again.tobytes() == number.tobytes()


class Reduced:
    """What pickles as this call, then this state."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


SCALAR = np.float64(0).__reduce__()[0]
BAD_NUMBERS = {
    "objects": Reduced(np.dtype, ("O8", False, True)),
    "fields": Reduced(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": 1}, 8, 1, 0)),
    "text": Reduced(np.dtype, ("U4",)),
    "a list": Reduced(np.dtype, ([("a", "f8")],)),
    "fields in the state": Reduced(np.dtype, ("f8",), (3, "<", None, ("a",), {"a": 1}, 8, 1, 0)),
    "byte order": Reduced(np.dtype, ("f8",), (3, "?")),
    "state": Reduced(np.dtype, ("f8",), {"a": 1}),
    "too few bytes": Reduced(SCALAR, (np.dtype("f8"), b"1234")),
    "too many bytes": Reduced(SCALAR, (np.dtype("f8"), b"1" * 9000)),
    "no type": Reduced(SCALAR, ("f8", b"12345678")),
    "an object": Reduced(SCALAR, (np.dtype("f8"), [1])),
    "truth": Reduced(SCALAR, (np.dtype("?"), b"\2")),
    "a type alone": np.dtype("f8"),
    "an array": np.zeros(2),
    "a type class": np.float64,
}


@pytest.mark.parametrize("name", BAD_NUMBERS)
def test_other_things_of_numpy_are_refused(name):
    with pytest.raises(pickle.UnpicklingError):
        dynjax.load(io.BytesIO(archive(pickle.dumps([BAD_NUMBERS[name]], 2))))

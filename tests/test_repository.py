"""What holds for the project as a whole: its floors, its manners towards others, its README."""

import ast
import contextlib
import doctest
import io
import json
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from dynjax.engine.executor import flush
from dynjax.engine.programs import programs
from dynjax.engine.trace import state
from dynjax.engine.trie import lazy_trie

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "dynjax").rglob("*.py"))
README = (ROOT / "README.md").read_text()

# The ground first. Folders that are not named here are PyTorch-shaped fronts (linalg, utils, ...).
FLOORS = {
    "core": 1,
    "engine": 2,
    "tensor": 3,
    "autograd": 4,
    "ops": 5,
    "graph": 5,
    "nn": 6,
    "optim": 7,
    "amp": 8,
    "interop": 10,
    "_front": 11,
    "__init__": 12,
}
FRONT = 9


# --- floors -----------------------------------------------------------------------------------


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def statements(tree):
    """All nodes but those under `if TYPE_CHECKING`, which are never run."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        yield node
        pending += ast.iter_child_nodes(node)


def imports(path):
    """Yield (line, absolute module) for every import of a file, those inside functions too."""
    package = path.relative_to(ROOT).parent.parts
    for node in statements(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in MODULES else base


def floor(module):
    parts = module.split(".")
    return FLOORS.get(parts[1] if len(parts) > 1 else "__init__", FRONT)


def test_imports_only_go_down():
    wrong = []
    for path in SOURCES:
        module = module_name(path)
        for line, imported in imports(path):
            if imported.split(".")[0] != "dynjax":
                continue
            same_folder = imported.split(".")[1:2] == module.split(".")[1:2]
            if not same_folder and floor(imported) >= floor(module):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_no_import_circles():
    needs = {
        module: {name for _, name in imports(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail("circle: " + " <- ".join(error.args[1]))


def test_never_imports_torch():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line, name in imports(path)
        if name.split(".")[0] == "torch"
    ]
    assert not wrong


def is_private_jax(dotted):
    root, *rest = dotted.split(".")
    if dotted in ("jax.core", "jax.core.Tracer"):  # what JAX's own documents test instances with
        return False
    return root == "jaxlib" or (
        root == "jax"
        and (rest[:1] in (["core"], ["interpreters"]) or any(part.startswith("_") for part in rest))
    )


def test_uses_only_the_public_jax():
    wrong = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(), path)
        used = list(imports(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                used += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
            elif isinstance(node, ast.Attribute):
                dotted = ast.unparse(node)
                if re.fullmatch(r"[\w.]+", dotted) and not dotted.endswith("__"):
                    used.append((node.lineno, dotted))
        wrong += [
            f"{path.relative_to(ROOT)}:{line} {name}" for line, name in used if is_private_jax(name)
        ]
    assert not wrong, "\n".join(sorted(set(wrong)))


# --- manners ----------------------------------------------------------------------------------

SNAPSHOT = """
import gc, json, logging, os, signal, sys, threading, warnings
import jax, numpy

def snapshot():
    jax_settings = {name: repr(value) for name, value in jax.config.values.items()}
    names = sorted(logging.root.manager.loggerDict)
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    return {
        "jax": jax_settings,
        "environment": dict(os.environ),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "handlers": {log.name: [repr(h) for h in log.handlers] for log in loggers if log.handlers},
        "level": logging.getLogger().level,
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "warnings": [repr(entry) for entry in warnings.filters],
        "recursion": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "signals": {str(s): repr(signal.getsignal(s)) for s in signal.valid_signals()},
        "excepthook": repr(sys.excepthook),
        "numpy": repr(numpy.get_printoptions()) + repr(numpy.geterr()),
    }

before = snapshot()
import dynjax
after_import = snapshot()
"""


def run_python(source):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_changes_nothing_global():
    before, after = json.loads(run_python(SNAPSHOT + "print(json.dumps([before, after_import]))"))
    for what, value in before.items():
        assert after[what] == value, what


def test_training_leaves_jax_settings_alone():
    source = """
import jax.numpy as jnp
model = dynjax.nn.Linear(2, 1)
optimizer = dynjax.optim.Adam(model.parameters())
for _ in range(3):
    model(dynjax.ones(4, 2)).square().mean().backward()
    optimizer.step()
assert (dynjax.arange(3) * 2).dtype is dynjax.int64
assert jnp.arange(3).dtype == jnp.int32 and jnp.zeros(3).dtype == jnp.float32
assert jax.jit(lambda x: x * 2)(jnp.arange(3)).dtype == jnp.int32
print(json.dumps([before, snapshot()]))
"""
    before, after = json.loads(run_python(SNAPSHOT + source))
    for what in ("jax", "environment", "handlers", "level", "warnings", "numpy"):
        assert after[what] == before[what], what


def test_import_does_not_need_the_extras():
    unwanted = ["torch", "pytest", "hypothesis", "sklearn", "matplotlib", "tqdm", "IPython"]
    loaded = run_python("import sys, dynjax; print(*sys.modules)").split()
    assert not set(unwanted) & set(loaded)


# --- README -----------------------------------------------------------------------------------

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)


def test_readme_snippets_run_and_print_what_is_shown():
    """Python blocks share one namespace; a text or mermaid block after one is what it prints."""
    flush()
    lazy_trie.clear()  # a reader's process has recorded and compiled nothing before
    programs.programs.clear()
    state.restart()
    namespace = {"__name__": "readme"}
    blocks = [(match[1], match[2]) for match in BLOCK.finditer(README)]
    checked = 0
    for (language, source), (next_language, shown) in zip(blocks, [*blocks[1:], ("", "")]):
        if language != "python":
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(source, f"README.md: {source.splitlines()[0]}", "exec"), namespace)
        if next_language in ("text", "mermaid"):
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            same = doctest.OutputChecker().check_output(shown, printed.getvalue(), flags)
            assert same, f"README shows\n{shown}\nbut the snippet prints\n{printed.getvalue()}"
            checked += 1
    assert checked


def test_readme_commands_name_what_exists():
    for path in re.findall(r"\.venv/bin/python (\S+\.py)", README):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / path).exists(), path

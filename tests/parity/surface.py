"""The page of all names: `python -m tests.parity.surface` writes docs/surface.md.

Each public name of PyTorch's namespaces works, differs (as the known differences of the parity
tests say), is out of scope (as `dynjax.core.scope` says), or is missing.
"""

import types
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.utils.prune
from torch.testing._internal.common_methods_invocations import op_db

import dynjax
from dynjax.core.scope import out_of_scope
from tests.parity.known import KNOWN
from tests.parity.opinfo import entries

PAGE = Path(__file__).parents[2] / "docs" / "surface.md"
ENTRIES = [op.formatted_name for op in entries()]
NAMESPACES = (
    "", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn",
    "nn.utils.parametrize", "nn.utils.parametrizations", "nn.utils.prune", "linalg", "fft",
    "special",
)  # fmt: skip


def public(place):
    """The public functions, methods and types of one of PyTorch's namespaces."""
    found = torch
    for part in place.split(".") if place else ():
        found = getattr(found, part)
    names = dir(torch._C._VariableFunctions) if not place else ()
    listed = set(getattr(found, "__all__", dir(found))) | set(names)
    for name in sorted(n for n in listed if not n.startswith("_")):
        value = getattr(found, name, None)
        imported = _is_typing(value) or name == "TYPE_CHECKING" or (place and name == "Tensor")
        if not isinstance(value, types.ModuleType) and (not imported or place == "Tensor"):
            yield name


def _is_typing(value):
    return getattr(value, "__module__", "") in ("typing", "collections.abc")


def _has(place, name):
    found = dynjax
    try:
        for part in [*place.split("."), name] if place else [name]:
            found = getattr(found, part)
    except AttributeError:
        return False
    return True


def differences():
    """For each operation, why it differs."""
    reasons = defaultdict(set)
    for (entry, _), why in KNOWN.items():
        reasons[entry].add(why)
    return reasons


def status(place, name, known):
    """`(kind, reason)` of one name."""
    if _has(place, name):
        key = f"{place.replace('.', '_')}_{name}" if place not in ("", "Tensor") else name
        return ("differs", "; ".join(sorted(known[key]))) if key in known else ("works", "")
    why = out_of_scope(name)
    return ("out of scope", why) if why else ("missing", "")


def page():
    """The page's text."""
    known, lines = differences(), ["# PyTorch's names in dynjax", "", __doc__.split("\n\n")[1], ""]
    for place in NAMESPACES:
        kinds = defaultdict(list)
        for name in public(place):
            kinds[status(place, name, known)].append(name)
        total = sum(map(len, kinds.values()))
        lines += [f"## torch{'.' if place else ''}{place} ({total} names)", ""]
        for (kind, why), names in sorted(kinds.items()):
            lines += [f"**{kind}** ({len(names)}){': ' + why if why else ''}", ""]
            lines += [", ".join(f"`{n}`" for n in names), ""]
    kinds = defaultdict(list)
    compared = set(ENTRIES)
    for entry in (op.formatted_name for op in op_db if op.formatted_name not in compared):
        kinds[out_of_scope(entry)].append(entry)
    lines += [f"## PyTorch's database of operations ({len(op_db)} entries)", ""]
    lines += [f"**compared** ({len(compared)})", ""]
    for why, names in sorted(kinds.items(), key=lambda item: item[0] or ""):
        kind = f"out of scope** ({len(names)}): {why}" if why else f"missing** ({len(names)})"
        lines += [f"**{kind}", "", ", ".join(f"`{n}`" for n in names), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())

"""How much of PyTorch's database of operations agrees: `python -m tests.parity.figures`.

Runs the checks of the tests on every entry and prints, for each figure, how many entries agree,
on how many samples and types, and which differ. What is expected to differ (known.py) counts as
differing here. Options: names of entries; --samples N or "all" for each type; --dtypes.
"""

import argparse
import ast
import os
import re
import statistics
import time
from collections import Counter
from pathlib import Path

import torch  # noqa: I001
from torch.testing._internal.common_methods_invocations import op_db

from dynjax.core.scope import out_of_scope
from dynjax.ops.declare import NAMES

# As in conftest.py, before JAX starts.
from tests.conftest import XLA_FLAGS  # noqa: F401
from tests.parity.checks import CHECKS, Extent, run
from tests.parity.known import KNOWN
from tests.parity.opinfo import LEFT_OUT, entries

OPS = Path(__file__).parents[2] / "dynjax" / "ops"
WORTH = {  # the share of entries that is to agree
    "function": 98, "method": 98, "operator": 98, "inplace": 98, "out": 98, "gradient": 97,
    "against_jax": 97, "second_order": 93, "raises": 97, "error_type": 90,
}  # fmt: skip


def measure(ops, extent):
    """For each check: entries that agree, `{entry: difference}`, samples of each type."""
    agree, differ = Counter(), {check.__name__: {} for check in CHECKS}
    counts = {check.__name__: Counter() for check in CHECKS}
    for op in ops:
        for check, (count, difference) in run(op, extent).items():
            counts[check].update(count)
            if difference:
                differ[check][op.formatted_name] = difference
            elif sum(count.values()):
                agree[check] += 1
    return agree, differ, counts


def lines_of_operations():
    """For each public operation, the lines that declare it, its docstring aside."""
    public = {name for names in NAMES.values() for name in names}
    found = {}
    for path in sorted(OPS.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = _declared(node) & public
            lines = _lines(node)
            for name in names:
                found.setdefault(name, lines / len(names))
    return found


def _declared(node):
    if isinstance(node, ast.FunctionDef) and node.decorator_list:
        calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
        return {node.name} | {s for d in calls for s in _strings(d)}
    return _strings(node) if isinstance(node, (ast.Expr, ast.For, ast.Assign)) else set()


def _strings(node):
    found = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return {value for value in found if isinstance(value, str)}


def _lines(node):
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    doc = 0
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
        doc = node.body[0].end_lineno - node.body[0].lineno + 1
    return node.end_lineno - first + 1 - doc


def array_api():
    """The standard's own tests: `(passed, of how many)`; None where they are not at hand."""
    if not os.environ.get("ARRAY_API_TESTS"):
        return None
    from tests.parity.test_array_api import run_suite

    text = run_suite().stdout
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|xfailed)", text)}
    return counts.get("passed", 0), sum(counts.values())


def report(ops, extent, skipped):
    """Print the table."""
    began = time.process_time()
    agree, differ, counts = measure(ops, extent)
    print(f"{len(ops)} entries, {time.process_time() - began:.0f} s of processor\n")
    print("check         agree  of   share   wanted  samples at each type")
    for check in WORTH:
        total = agree[check] + len(differ[check])
        share = 100 * agree[check] / total if total else 100.0
        types = ", ".join(f"{str(t).removeprefix('torch.')} {n}" for t, n in counts[check].items())
        print(
            f"{check:12} {agree[check]:6} {total:4} {share:6.1f} %  {WORTH[check]:4} %  "
            f"{sum(counts[check].values())}: {types}"
        )
    print(f"samples left out: {dict(LEFT_OUT)}\n")
    for check in WORTH:
        for name, difference in differ[check].items():
            why = KNOWN.get((name, check))
            text = f"known: {why}" if why else " ".join(difference.split())
            print(f"  {check} of {name}: {text[:220]}")
    if skipped:
        absent = [op.formatted_name for op in op_db if op.formatted_name not in skipped]
        reasons = Counter(out_of_scope(name) for name in absent)
        print(f"\nout of scope: {len(absent)} of {len(op_db)} entries")
        for why, n in reasons.items():
            print(f"  {n}: {why}")
        print(f"known differences: {len(KNOWN)}")


def report_code():
    """Print what the operations cost in lines."""
    lines = lines_of_operations()
    longest = max((len(p.read_text().splitlines()), p.name) for p in OPS.glob("*.py"))
    print(f"\nlines that an operation costs: median {statistics.median(lines.values()):g}, of "
          f"{len(lines)} operations; the longest file, {longest[1]}, has {longest[0]}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="entries, such as nn_functional_conv2d")
    parser.add_argument("--samples", default="few", help='a number, or "all"')
    parser.add_argument("--dtypes", nargs="+", help="such as float32 bfloat16")
    given = parser.parse_args()
    everything = entries()
    ops = [op for op in everything if not given.only or op.formatted_name in given.only]
    dtypes = tuple(getattr(torch, t) for t in given.dtypes) if given.dtypes else None
    if given.samples == "few":
        extent = Extent(dtypes=dtypes)
    else:
        n = None if given.samples == "all" else int(given.samples)
        extent = Extent(n, n, n, n, dtypes)
    report(ops, extent, not given.only and {op.formatted_name for op in everything})
    if not given.only:
        report_code()
        suite = array_api()
        print("array-api-tests: " + (f"{suite[0]} of {suite[1]} pass" if suite else "not at hand"))


if __name__ == "__main__":
    main()

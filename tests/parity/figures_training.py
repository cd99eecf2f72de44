"""How much of PyTorch's layers, optimizers and schedules agrees:
`python -m tests.parity.figures_training`.

Runs the checks of the tests on every entry of PyTorch's databases and prints, for each figure, how
many agree and which differ. What is expected to differ (known.py) counts as differing here.
Options: modules, optimizers, schedulers, files; --samples N or "all" for each layer.
"""

import argparse
import warnings
from collections import Counter

import torch  # noqa: I001
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.common_optimizers import optim_db

from dynjax.core.config import config

# As in conftest.py, before JAX starts.
from tests.conftest import XLA_FLAGS  # noqa: F401
from tests.parity import moduleinfo, test_lr_scheduler, test_modules, test_optim_trajectories
from tests.parity import test_serialization as files
from tests.parity.optimizers import INFOS, MORE, OTHERS


class Figure:
    """How many of some things agree, and how the others differ."""

    def __init__(self, name, wanted):
        self.name, self.wanted = name, wanted
        self.agree, self.differ = 0, {}

    def add(self, label, check):
        """Count one, which agrees unless `check()` raises."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check()
        except Exception as error:  # whatever goes wrong is a difference
            self.differ[label] = f"{type(error).__name__}: {error}"
        else:
            self.agree += 1

    def show(self):
        total = self.agree + len(self.differ)
        share = 100 * self.agree / total if total else 100.0
        print(f"{self.name:46} {self.agree:5} of {total:5}  {share:5.1f} %  wanted {self.wanted} %")
        for label, difference in self.differ.items():
            print(f"    {label}: {' '.join(difference.split())[:200]}")


def modules():
    """Layers: every check of the tests on every entry; texts and errors one by one too."""
    config.policy = "interpret"  # programs of single operations are shared by many samples
    whole = Figure("modules: all checks of an entry", 97)
    each = {
        check: Figure(f"  {check.__doc__.split('.')[0].split(';')[0].strip('`')[:42]}", 97)
        for check in test_modules.CHECKS
    }
    texts, wrong = Figure("  repr, sample by sample", 97), Figure("  error inputs, one by one", 90)
    for name, info in moduleinfo.ENTRIES.items():
        before = sum(len(figure.differ) for figure in each.values())
        for check, figure in each.items():
            if check is not test_modules.evaluate or info.train_and_eval_differ:
                figure.add(name, lambda check=check, info=info: check(info))
        same = before == sum(len(figure.differ) for figure in each.values())
        whole.add(name, lambda same=same: _hold(same))
        for k, sample in enumerate(moduleinfo.samples(info, True)):
            texts.add(f"{name} {k}", lambda info=info, sample=sample: _same_text(info, sample))
        for k, (theirs, call, text) in enumerate(moduleinfo.errors(info)):
            wrong.add(f"{name} {k} {text}", lambda t=theirs, call=call: _raises(t, call))
    for figure in (whole, *each.values(), texts, wrong):
        figure.show()
    left = list(moduleinfo.LEFT_OUT)
    print(f"    out of scope: {len(left)} of {len(module_db)} entries: {', '.join(left) or 'none'}")


def _hold(condition):
    assert condition


def _same_text(info, sample):
    theirs, ours = moduleinfo.build(info, sample)
    assert moduleinfo.plain(repr(ours)) == moduleinfo.plain(repr(theirs))


def _raises(theirs, call):
    try:
        call()
    except Exception as error:
        assert type(error) is type(theirs), f"{error!r} instead of {theirs!r}"
    else:
        raise AssertionError(f"accepted instead of {theirs!r}")


def optimizers():
    """Every option of every optimizer, and some more, ten steps."""
    cases = [p.values for p in test_optim_trajectories.inputs()]
    figures = {"as PyTorch's samples": cases, "with other options": [*MORE, *OTHERS]}
    for what, members in figures.items():
        figure = Figure(f"optimizers: trajectories {what}", 100)
        for name, options in members:
            figure.add(
                f"{name} {options}",
                lambda n=name, o=options: test_optim_trajectories.test_trajectory(n, o),
            )
        figure.show()
    seen = Counter(name for name, _ in cases)
    absent = [i.optim_cls.__name__ for i in optim_db if i.optim_cls.__name__ not in INFOS]
    print(f"    {len(seen)} optimizers of {len(optim_db)}; not here: {', '.join(absent) or 'none'}")


def schedulers():
    """Every class, 50 steps, and its state on the way."""
    figure, seen = Figure("schedulers: rates and state over 50 steps", 100), set()
    for name in test_lr_scheduler.SCHEDULERS:
        for cls in ("SGD", "Adam"):
            figure.add(f"{name} {cls}", lambda n=name, c=cls: test_lr_scheduler.test_schedule(n, c))
        seen.add(name.split()[0])
    marks = test_lr_scheduler.test_plateau.pytestmark
    for options in next(mark for mark in marks if mark.name == "parametrize").args[1]:
        figure.add(
            f"ReduceLROnPlateau {options}", lambda o=options: test_lr_scheduler.test_plateau(o)
        )
    seen.add("ReduceLROnPlateau")
    figure.show()
    names = {*torch.optim.lr_scheduler.__all__, "SWALR"} - {"LRScheduler"}
    print(f"    {len(seen & names)} classes of {len(names)}; not run: {sorted(names - seen)}")


def checkpoints():
    """State of every type, from PyTorch here and back again, bit by bit."""
    figure = Figure("files: types there and back, bit for bit", 100)
    for name, tensor in files.every_type().items():
        for form, zipped in files.FORMATS.items():
            figure.add(
                f"{name} {form}", lambda t=tensor, z=zipped: files.check_there_and_back(t, z)
            )
    figure.show()


PARTS = {
    "modules": modules,
    "optimizers": optimizers,
    "schedulers": schedulers,
    "files": checkpoints,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*PARTS, []], help="what to measure")
    parser.add_argument("--samples", default=str(moduleinfo.LIMIT), help='a number, or "all"')
    given = parser.parse_args()
    moduleinfo.LIMIT = 10**6 if given.samples == "all" else int(given.samples)
    for name in given.only or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()

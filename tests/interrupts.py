"""KeyboardInterrupts at chosen places."""

import importlib
import sys
from linecache import getline
from pathlib import Path


def interrupted_at(line, function, packages, but=()):
    """Call with a KeyboardInterrupt before the given line that runs in some packages of dynjax.

    Lines that begin a `with` do not count: they run a second time as it ends, where no signal comes
    before what was opened is closed.

    Args:
        line: counted from 1.
        function: takes nothing.
        packages: their names, without "dynjax.".
        but: names of functions whose lines do not count.

    Returns whether it came so far.
    """
    folders = tuple(
        str(Path(importlib.import_module(f"dynjax.{name}").__file__).parent) for name in packages
    )
    left = line

    def trace(frame, event, arg):
        nonlocal left
        code = frame.f_code
        if not code.co_filename.startswith(folders) or code.co_name in but:
            return None
        source = getline(code.co_filename, frame.f_lineno)
        if event == "line" and not source.lstrip().startswith("with "):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False

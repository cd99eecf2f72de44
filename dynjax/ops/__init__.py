"""The operations, a family a file."""

import importlib as _i
import os as _o
for _f in sorted(_o.listdir(_o.path.dirname(__file__))):
    if _f.endswith(".py") and _f not in ("__init__.py", "operators.py"):
        try:
            _i.import_module("dynjax.ops." + _f[:-3])
        except Exception as e:
            import traceback; traceback.print_exc(limit=-2)
_i.import_module("dynjax.ops.operators")

"""The names of the package itself; see `core/later.py` for when they are loaded."""

# ruff: noqa: F401

from math import e, inf, nan, pi

from .core.collector import Unhurried as _Unhurried

with _Unhurried():  # a third of the time it takes to import
    from . import (
        amp,
        autograd,
        backends,
        cpu,
        cuda,
        fft,
        linalg,
        masked,
        nn,
        ops,
        optim,
        random,
        signal,
        special,
        utils,
    )
from . import array_methods as _array_methods
from .amp.autocast_mode import autocast
from .amp.grad_scaler import GradScaler
from .autograd import mixed as _mixed
from .autograd.mixed import (
    autocast_decrement_nesting,
    autocast_increment_nesting,
    clear_autocast_cache,
    get_autocast_dtype,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from .autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .compile import compile
from .core import dtypes as _dtypes
from .core.config import config
from .core.devices import device, get_default_device, set_default_device
from .core.dtypes import (
    bfloat16,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .core.errors import OutOfMemoryError
from .core.size import Size
from .core.version import __version__
from .determinism import (
    are_deterministic_algorithms_enabled,
    get_deterministic_debug_mode,
    is_deterministic_algorithms_warn_only_enabled,
    set_deterministic_debug_mode,
    use_deterministic_algorithms,
)
from .engine.cold import batching
from .engine.executor import eager
from .engine.explain import explain
from .engine.random import Generator, default_generator, initial_seed, manual_seed, seed
from .graph import graph
from .nn.parameter import Parameter
from .ops.declare import NAMES as _NAMES
from .random import get_rng_state, set_rng_state
from .serialization import load, save
from .tensor.printing import get_printoptions, printoptions, set_printoptions
from .tensor.tensor import Tensor
from .utils.summaries import summary

bool, int, float = _dtypes.bool, _dtypes.int, _dtypes.float
newaxis = None
globals().update(_NAMES["torch"], **_mixed.OLD_NAMES)

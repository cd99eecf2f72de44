"""Modules on PyTorch and on dynjax: the same text, keys, messages, order of hooks and numbers.

A scenario is written once, takes the library as its argument and returns what it saw; both
libraries must have seen the same.
"""

import copy
import io
import pickle
import re
import warnings
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest

import dynjax

torch = pytest.importorskip("torch")

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def plain(value):
    """What a scenario saw, without the library's name and without objects of its own."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        value = re.sub(r"\b(torch|dynjax)\.", "lib.", value)
        value = re.sub(r"nn\.(modules\.)?\w+\.(?=[A-Z])", "nn.", value)
        return re.sub(r"0x[0-9a-f]+", "0x", value)
    if hasattr(value, "detach"):
        return np.round(value.detach().numpy().astype(np.float64), 5).tolist()
    return value


def attempt(function, *args, **kwargs):
    """The result, or the error's type and text."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def warned(function, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = attempt(function, *args)
    return result, [(w.category.__name__, str(w.message)) for w in caught]


def fill(lib, module):
    """Give all parameters the same values in both libraries."""
    with lib.no_grad():
        for i, param in enumerate(module.parameters()):
            size = int(np.prod(param.shape))
            values = np.sin(np.arange(size, dtype=np.float32) + i).reshape(tuple(param.shape))
            param.copy_(lib.from_numpy(values))
    return module


def make_net(lib):
    class Block(lib.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.linear = lib.nn.Linear(size, size)
            self.register_buffer("scale", lib.ones(1))
            self.register_buffer("cache", lib.zeros(2), persistent=False)

        def forward(self, x):
            return self.linear(x) * self.scale

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = lib.nn.ModuleList([Block(3), Block(3)])
            self.head = lib.nn.Sequential(lib.nn.ReLU(), lib.nn.Linear(3, 2, bias=False))
            self.tied = self.blocks[0]
            self.extra = lib.nn.Parameter(lib.ones(2))
            self.nothing = None
            self.register_parameter("maybe", None)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x) + self.extra

    return fill(lib, Net())


@scenario
def iterators(lib):
    net = make_net(lib)
    names = lambda pairs: [name for name, _ in pairs]  # noqa: E731
    yield repr(net)
    yield names(net.named_parameters())
    yield names(net.named_parameters(remove_duplicate=False))
    yield names(net.named_parameters(prefix="p", recurse=False))
    yield names(net.named_buffers()), names(net.named_buffers(remove_duplicate=False))
    yield names(net.named_modules()), names(net.named_modules(remove_duplicate=False))
    yield names(net.named_modules(prefix="root")), names(net.named_children())
    yield len(list(net.parameters())), len(list(net.buffers())), len(list(net.modules()))
    yield [name for name in dir(net) if name in ("blocks", "extra", "maybe", "training")]
    yield list(net.state_dict()), net.state_dict()._metadata
    order = []
    net.apply(lambda module: order.append(type(module).__name__))
    yield order


@scenario
def registration_errors(lib):
    nn, tensor = lib.nn, lib.ones(2)

    class Early(nn.Module):
        def __init__(self, kind):
            if kind == "parameter":
                self.a = nn.Parameter(lib.ones(1))
            elif kind == "module":
                self.a = nn.Linear(1, 1)
            else:
                self.register_buffer("a", lib.ones(1))

    for kind in ("parameter", "module", "buffer"):
        yield attempt(Early, kind)
    net = make_net(lib)
    for name in ("extra", "blocks"):
        for value in (3, tensor, "text"):
            yield attempt(setattr, net, name, value)
    yield attempt(setattr, net.blocks[0], "scale", 3)
    for name in (3, "a.b", "", "training", "forward"):
        yield attempt(net.register_buffer, name, tensor)
        yield attempt(net.register_parameter, name, nn.Parameter(tensor))
        yield attempt(net.add_module, name, nn.ReLU())
    yield attempt(net.register_buffer, "x", 3)
    yield attempt(net.register_parameter, "x", tensor)
    yield attempt(net.register_parameter, "x", 3)
    yield attempt(net.add_module, "x", 3)
    yield attempt(net.add_module, "x", tensor)
    yield attempt(getattr, net, "missing")
    yield attempt(delattr, net, "missing")
    yield attempt(nn.Module, 3)
    yield attempt(lambda: nn.Module(a=3))
    yield attempt(nn.Module(), 3)
    yield attempt(net.train, 3)
    for path in ("blocks.0", "blocks.7", "extra", "blocks.0.scale", "nothing.x", ""):
        yield str(attempt(net.get_submodule, path))
    for path in ("blocks.0.linear.weight", "blocks.0.scale", "nope", "head.1.bias"):
        yield attempt(net.get_parameter, path)
        yield attempt(net.get_buffer, path)
    yield attempt(net.set_submodule, "", nn.ReLU())
    yield attempt(net.set_submodule, "head.9", nn.ReLU(), True)
    yield attempt(net.set_submodule, "extra", nn.ReLU())
    yield attempt(net.set_submodule, "head.0", 3)
    net.set_submodule("head.0", nn.Tanh())
    yield repr(net)


@scenario
def replacing_members(lib):
    net, nn = make_net(lib), lib.nn
    net.extra = None
    yield [name for name, _ in net.named_parameters()]
    net.extra = nn.Parameter(lib.zeros(2))
    net.nothing = nn.Parameter(lib.zeros(1))
    net.head = nn.Linear(3, 2)
    net.tied = None
    net.blocks[0].cache = lib.ones(2)
    net.blocks[0].scale = None
    yield [name for name, _ in net.named_parameters()], list(net.state_dict()), repr(net)
    del net.extra, net.head
    yield list(net.state_dict())
    module = nn.Module()
    module.a = 3
    module.a = nn.Parameter(lib.ones(1))
    module.b = nn.ReLU()
    module.b = nn.Parameter(lib.ones(1))
    module.c = nn.Buffer(lib.ones(2))
    module.d = nn.Buffer(lib.ones(2), persistent=False)
    yield list(module.__dict__["_parameters"]), list(module._modules), list(module.state_dict())
    yield sorted(module._buffers), sorted(module._non_persistent_buffers_set)


@scenario
def load_errors(lib):
    net = make_net(lib)
    state = net.state_dict()
    yield str(net.load_state_dict(state)), repr(net.load_state_dict(state))
    broken = OrderedDict(state)
    del broken["extra"], broken["head.1.weight"]
    broken["other"] = lib.ones(1)
    broken["blocks.0.linear.more"] = lib.ones(1)
    yield attempt(net.load_state_dict, broken)
    yield str(attempt(net.load_state_dict, broken, strict=False))
    broken["blocks.0.linear.weight"] = lib.ones(4, 3)
    broken["blocks.1.linear.bias"] = 3
    yield attempt(net.load_state_dict, broken)
    yield attempt(net.load_state_dict, broken, strict=False)
    yield attempt(net.load_state_dict, [1])
    yield attempt(lib.nn.Linear(2, 2).load_state_dict, {})
    result = lib.nn.Linear(2, 2).load_state_dict({}, strict=False)
    yield result.missing_keys, result.unexpected_keys


@scenario
def load_values(lib):
    net, other = make_net(lib), make_net(lib)
    with lib.no_grad():
        for param in other.parameters():
            param.mul_(2)
    before = net.extra
    net.load_state_dict(other.state_dict())
    yield net.extra is before, net.extra, net.head[1].weight
    state = {key: value.double() for key, value in other.state_dict().items()}
    net.load_state_dict(state)
    yield str(net.extra.dtype)
    net.load_state_dict(state, assign=True)
    yield (
        str(net.extra.dtype),
        net.extra is before,
        net.extra.requires_grad,
        type(net.extra).__name__,
    )
    kept = net.state_dict(keep_vars=True)
    yield kept["extra"] is net.extra, net.state_dict()["extra"].requires_grad
    yield list(net.state_dict(prefix="model.")), list(net.state_dict(destination={"a": 1}))
    scalar = lib.nn.Module()
    scalar.register_buffer("x", lib.tensor(3.0))
    scalar.load_state_dict({"x": lib.tensor([5.0])})
    yield scalar.x


@scenario
def extra_state(lib):
    class Stateful(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 3

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    module = Stateful()
    state = module.state_dict()
    module.count = 0
    yield list(state), str(module.load_state_dict(state)), module.count
    yield attempt(module.load_state_dict, {})
    yield attempt(lib.nn.Linear(1, 1).load_state_dict, {"_extra_state": 1})


@scenario
def state_hooks(lib):
    net, seen = make_net(lib), []
    net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))

    def post(module, state, prefix, metadata):
        seen.append(("post", prefix, metadata["version"]))
        state["added"] = lib.ones(1)

    net.register_state_dict_post_hook(post)
    state = net.state_dict()
    yield list(state), seen
    yield attempt(net._register_state_dict_hook, post)
    net._register_state_dict_hook(lambda m, s, p, meta: {"only": 1})
    yield list(net.state_dict())
    other = lib.nn.Linear(2, 2)
    other.register_state_dict_post_hook(lambda *args: {})
    yield attempt(other.state_dict)

    def pre_load(module, state, prefix, metadata, strict, missing, unexpected, errors):
        seen.append(("load", type(module).__name__, prefix, strict))
        state.pop("added", None)

    def post_load(module, keys):
        seen.append(("loaded", list(keys.missing_keys), list(keys.unexpected_keys)))
        keys.missing_keys.clear()

    net.register_load_state_dict_pre_hook(pre_load)
    handle = net.register_load_state_dict_post_hook(post_load)
    state = OrderedDict(state)
    del state["extra"]
    yield str(net.load_state_dict(state)), sorted(state), seen
    handle.remove()
    yield attempt(net.load_state_dict, state)
    net.register_load_state_dict_post_hook(lambda module, keys: 3)
    yield attempt(net.load_state_dict, state)


@scenario
def forward_hooks(lib):
    module, seen = fill(lib, lib.nn.Linear(2, 2)), []
    x = lib.tensor([[1.0, 2.0]])
    module.register_forward_pre_hook(lambda m, args: seen.append(("pre", len(args))))
    module.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    module.register_forward_pre_hook(lambda m, args: args[0] + 1, prepend=True)
    handle = module.register_forward_hook(lambda m, args, out: seen.append(("post", out)))
    module.register_forward_hook(lambda m, args, out: out * 3, prepend=True)
    module.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(("kwargs", sorted(kwargs))), with_kwargs=True
    )
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {}), with_kwargs=True)
    yield module(x), seen
    yield module(x, unknown=3)
    handle.remove()
    handle.remove()
    seen.clear()
    module(x)
    yield seen, len(module._forward_hooks), len(module._forward_pre_hooks)
    module.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    yield attempt(module, x)


@scenario
def always_called_hooks(lib):
    seen = []

    class Broken(lib.nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    module = Broken()
    module.register_forward_hook(lambda m, args, out: seen.append("never"))
    module.register_forward_hook(lambda m, args, out: seen.append(("ran", out)), always_call=True)

    def fails(module, args, out):
        raise KeyError("hook")

    module.register_forward_hook(fails, always_call=True)
    yield warned(module, lib.ones(1)), seen
    yield attempt(lib.nn.Module(), 1)


@scenario
def global_hooks(lib):
    seen = []
    register = lib.nn.modules.module if lib is torch else lib.nn.hooks
    net = make_net(lib)
    name = lambda module: type(module).__name__  # noqa: E731
    handles = [
        register.register_module_forward_pre_hook(lambda m, a: seen.append(("pre", name(m)))),
        register.register_module_forward_hook(lambda m, a, o: seen.append(("post", name(m)))),
        register.register_module_full_backward_pre_hook(
            lambda m, g: seen.append(("backward pre", name(m)))
        ),
        register.register_module_full_backward_hook(
            lambda m, i, o: seen.append(("backward", name(m), [g is None for g in i]))
        ),
        register.register_module_parameter_registration_hook(
            lambda m, n, p: seen.append(("parameter", name(m), n))
        ),
        register.register_module_module_registration_hook(
            lambda m, n, c: seen.append(("module", name(m), n, name(c)))
        ),
        register.register_module_buffer_registration_hook(
            lambda m, n, b: seen.append(("buffer", name(m), n))
        ),
    ]
    try:
        net(lib.ones(1, 3, requires_grad=True)).sum().backward()
        lib.nn.Sequential(lib.nn.BatchNorm1d(2))
    finally:
        for handle in handles:
            handle.remove()
    yield list(seen)
    net(lib.ones(1, 3))
    yield len(seen)


@scenario
def backward_hooks(lib):
    def log(tag):
        def hook(module, grad_input, grad_output=None):
            seen.append(
                (tag, type(module).__name__, list(grad_input), grad_output and [*grad_output])
            )

        return hook

    seen = []
    net = fill(lib, lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Tanh(), lib.nn.Linear(3, 1)))
    for module in net.modules():
        module.register_full_backward_hook(log("full"))
        module.register_full_backward_pre_hook(log("pre"))
    x = lib.tensor([[1.0, 2.0]], requires_grad=True)
    net(x).sum().backward()
    yield seen, x.grad, net[0].weight.grad
    layer = fill(lib, lib.nn.Linear(2, 2))
    layer.register_full_backward_hook(lambda m, i, o: (i[0] * 10,))
    layer.register_full_backward_pre_hook(lambda m, o: (o[0] * 2,))
    x = lib.tensor([[1.0, 2.0]], requires_grad=True)
    layer(x).sum().backward()
    yield x.grad, layer.bias.grad
    yield attempt(layer.register_backward_hook, lambda m, i, o: None)
    layer.register_full_backward_hook(lambda m, i, o: (None, None))
    yield attempt(lambda: layer(x).sum().backward())
    old = fill(lib, lib.nn.Tanh())
    got = []
    old.register_backward_hook(lambda m, i, o: got.append((len(i), o[0])))
    yield attempt(old.register_full_backward_hook, lambda m, i, o: None)
    y = x * 2
    yield warned(lambda: old(y).sum().backward())[1], got


@scenario
def conversion(lib):
    net = make_net(lib)
    before = net.extra
    net(lib.ones(1, 3)).sum().backward()
    net.double()
    yield str(net.extra.dtype), str(net.extra.grad.dtype), net.extra is before, net.extra.grad
    yield str(net.blocks[0].scale.dtype), net.extra.is_leaf, net.extra.requires_grad
    yield str(net.to(lib.float16).extra.dtype), str(net.float().extra.dtype)
    yield str(net.to("cpu", lib.float64).extra.dtype), str(net.to(lib.ones(1)).extra.dtype)
    yield str(net.to(device="cpu", dtype=lib.bfloat16).extra.dtype), str(net.half().extra.dtype)
    counted = lib.nn.BatchNorm1d(2).double()
    yield str(counted.num_batches_tracked.dtype), str(counted.running_mean.dtype)
    yield attempt(net.to, lib.int64)
    yield attempt(net.to, copy=True)
    net.float().requires_grad_(False)
    yield [p.requires_grad for p in net.parameters()]
    net.requires_grad_()
    net(lib.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    yield net.extra.grad
    net.zero_grad()
    yield net.extra.grad is None
    net.eval()
    yield net.training, net.blocks[1].linear.training, net.train().head[0].training


@scenario
def copies(lib):
    net = fill(lib, lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.BatchNorm1d(2)))
    net.tied = net[0]
    net.eval()
    twin = copy.deepcopy(net)
    buffer = io.BytesIO()
    pickle.dump(net, buffer)
    third = pickle.loads(buffer.getvalue())
    x = lib.tensor([[1.0, 2.0]])
    for other in (twin, third):
        yield other(x), other.tied is other[0], other[0].weight is not net[0].weight
        yield other.training, list(other.state_dict())
        with lib.no_grad():
            other[0].weight.zero_()
    yield net(x)
    shallow = copy.copy(net)
    yield shallow[0] is net[0]


@scenario
def sequences(lib):
    nn = lib.nn
    make = lambda *sizes: nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))  # noqa: E731
    chain = make(1, 2, 3, 4)
    yield repr(chain), repr(chain[1:]), repr(chain[-1]), len(chain), list(chain.state_dict())
    yield attempt(lambda: chain[3]), attempt(lambda: chain[-4]), attempt(lambda: chain["a"])
    chain[1] = nn.ReLU()
    del chain[0]
    yield repr(chain)
    chain.append(nn.Tanh()).insert(0, nn.GELU()).extend([nn.ELU(), nn.SiLU()])
    yield repr(chain), repr(chain.pop(1)), repr(chain + make(1, 1)), repr(chain * 2)
    chain *= 2
    chain += make(5, 5)
    yield repr(chain), repr(2 * make(1, 1))
    del chain[1:3]
    yield repr(chain)
    yield attempt(chain.__add__, 3), attempt(chain.__mul__, 0), attempt(chain.__mul__, "a")
    yield attempt(chain.insert, 99, nn.ReLU()), attempt(chain.append, 3)
    yield attempt(nn.Sequential, nn.ReLU), attempt(nn.Sequential, 3)
    named = nn.Sequential(OrderedDict([("first", nn.ReLU()), ("second", nn.Linear(1, 2))]))
    yield repr(named), list(named.state_dict()), repr(named[:1]), repr(named.first)
    yield repr(nn.Sequential()), nn.Sequential()(3), "0" in dir(chain)


@scenario
def lists(lib):
    nn = lib.nn
    items = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU(), nn.ReLU(), nn.ReLU()])
    yield repr(items), repr(nn.ModuleList()), repr(items[1:3]), repr(items[-1]), len(items)
    items.append(nn.Tanh()).extend([nn.ELU()])
    items.insert(1, nn.GELU())
    items += [nn.SiLU()]
    del items[0], items[-2:]
    yield repr(items), repr(items.pop(2)), repr(items + [nn.Tanh()]), list(items._modules)
    items[0] = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    yield repr(items), [type(item).__name__ for item in items]
    yield attempt(lambda: items[99]), attempt(items.extend, 3), attempt(items.append, 3)
    yield attempt(items, 3)
    table = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(1, 1)})
    table.update([("c", nn.Tanh())])
    table["d"] = nn.ELU()
    yield repr(table), list(table), list(table.keys()), len(table), "a" in table
    yield repr(table.pop("a")), [key for key, _ in table.items()], len(table.values())
    yield attempt(table.update, 3), attempt(table.update, [3]), attempt(table.update, [(1, 2, 3)])
    yield attempt(lambda: table["zzz"]), attempt(table.__setitem__, "keys", nn.ReLU())
    table.clear()
    yield repr(table)


@scenario
def parameter_containers(lib):
    nn = lib.nn
    items = nn.ParameterList([nn.Parameter(lib.ones(2, 3)), lib.ones(1), 3, "text"])
    items.append(nn.Parameter(lib.ones(1))).extend([lib.zeros(2)])
    items += [4]
    items[2] = lib.ones(7)
    yield repr(items), len(items), repr(items[1:3]), list(items.state_dict())
    yield [type(item).__name__ for item in items]
    yield attempt(lambda: items[99]), attempt(items.extend, 3), attempt(items, 1)
    yield attempt(items.extend, lib.ones(2))
    table = nn.ParameterDict({"b": lib.ones(2), "a": nn.Parameter(lib.ones(1)), "n": 3})
    table["z"] = lib.zeros(3)
    yield repr(table), list(table), list(table.state_dict()), len(table), "a" in table
    yield list(table.keys()), [key for key, _ in table.items()], len(list(table.values()))
    yield table.get("missing", 5), table.setdefault("new", 6), list(reversed(table))
    yield table.popitem(), table.pop("n"), repr(table | nn.ParameterDict({"q": 1}))
    copied = table.copy()
    copied |= {"w": 2}
    yield repr(copied), list(table), repr(table.fromkeys(["u", "v"], 1))
    yield attempt(table.update, 3), attempt(table.update, [3]), attempt(table.update, [(1, 2, 3)])
    table.clear()
    yield repr(table), attempt(table, 1)


@scenario
def bad_arguments(lib):
    nn = lib.nn
    yield attempt(nn.Dropout, 1.5), attempt(nn.Dropout, -1)
    yield attempt(nn.Conv2d, 3, 4, 3, groups=2), attempt(nn.Conv2d, 4, 3, 3, groups=2)
    yield attempt(nn.Conv2d, 3, 4, 3, groups=0)
    yield attempt(nn.Conv2d, 3, 4, 3, stride=2, padding="same")
    yield attempt(nn.ConvTranspose2d, 3, 4, 3, padding_mode="reflect")
    yield attempt(nn.GroupNorm, 3, 4), attempt(nn.Bilinear, 0, 1, 1)
    yield attempt(nn.Embedding, 3, 4, padding_idx=5), attempt(nn.Embedding, 3, 4, padding_idx=-4)
    yield attempt(nn.Embedding, 3, 4, _weight=lib.ones(2, 2))
    yield attempt(nn.Embedding.from_pretrained, lib.ones(2))
    yield attempt(nn.Hardtanh, 1.0, -1.0), attempt(nn.HuberLoss, delta="a")
    yield attempt(nn.MultiMarginLoss, 3), attempt(nn.TripletMarginLoss, margin=0)
    yield attempt(nn.Unflatten, 1, 3), attempt(nn.Unflatten, 1, (1.5,))
    yield attempt(nn.Linear, 2, "a"), attempt(nn.Linear, -1, 2)
    yield attempt(nn.BatchNorm2d(3), lib.ones(2, 3)), attempt(nn.BatchNorm1d(3), lib.ones(3))
    yield attempt(nn.Softmax2d(), lib.ones(2)), warned(repr, nn.ReLU())
    yield warned(lambda: nn.MSELoss(reduce=False).reduction)
    yield warned(lambda: nn.L1Loss(size_average=False).reduction)
    init = nn.init
    yield attempt(init.kaiming_uniform_, lib.ones(2)), attempt(init.eye_, lib.ones(2))
    yield attempt(init.dirac_, lib.ones(2)), attempt(init.dirac_, lib.ones(3, 2, 1), 2)
    yield attempt(init.orthogonal_, lib.ones(2)), attempt(init.sparse_, lib.ones(2), 0.5)
    yield attempt(init.kaiming_normal_, lib.ones(2, 2), mode="x")
    yield attempt(init.calculate_gain, "x"), attempt(init.calculate_gain, "leaky_relu", "a")
    yield attempt(init.uniform_, lib.ones(2), 3.0, 1.0), attempt(init.normal_, lib.ones(2), 0, -1)
    yield attempt(init.uniform_, lib.ones(2, dtype=lib.int64))
    yield warned(init.kaiming_uniform_, lib.ones(0, 2)), warned(init.uniform, lib.ones(0))
    yield [init.calculate_gain(n) for n in ("linear", "sigmoid", "tanh", "relu", "selu", "conv2d")]
    yield init.calculate_gain("leaky_relu", 0.2), init.eye_(lib.ones(2, 3))
    yield init.dirac_(lib.ones(4, 2, 3), 2), init.constant_(lib.ones(2), 0.5)
    yield init.ones_(lib.zeros(2)), init.zeros_(lib.ones(2, 2))


@scenario
def clipping(lib):
    utils = lib.nn.utils

    def params():
        result = [lib.nn.Parameter(lib.ones(2, 2)), lib.nn.Parameter(lib.ones(3))]
        result[0].grad = lib.tensor([[3.0, 4.0], [0.0, -1.0]])
        result[1].grad = lib.tensor([1.0, 2.0, 3.0])
        return [*result, lib.nn.Parameter(lib.ones(1))]

    for norm_type in (2.0, 1.0, 3.0, 0.0, float("inf"), "inf"):
        for max_norm in (1.0, 100.0):
            group = params()
            yield utils.clip_grad_norm_(group, max_norm, norm_type), [p.grad for p in group[:2]]
    group = params()
    utils.clip_grad_value_(group, 1.5)
    yield [p.grad for p in group[:2]]
    yield utils.clip_grad_norm_(group[0], 0.1), group[0].grad
    yield utils.clip_grad_norm_([], 1.0), utils.get_total_norm([])
    yield utils.get_total_norm([lib.ones(3), lib.ones(1, dtype=lib.float64)])
    yield warned(lambda: utils.clip_grad_norm_((p for p in []), 1.0))
    group[0].grad[0, 0] = float("nan")
    yield attempt(utils.clip_grad_norm_, group, 1.0, error_if_nonfinite=True)
    yield attempt(utils.clip_grad_norm_, group, "a"), attempt(utils.clip_grad_value_, group, "a")
    vector = utils.parameters_to_vector(params())
    yield vector
    group = params()
    utils.vector_to_parameters(vector * 2, group)
    yield group, [p.requires_grad for p in group]
    yield attempt(utils.vector_to_parameters, [1.0], group)


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    expected, seen = run(torch), run(dynjax)
    for step, (theirs, ours) in enumerate(zip(expected, seen, strict=True)):
        assert plain(ours) == plain(theirs), f"step {step}"


def to_ours(value):
    """Tensors as dynjax's, in whatever holds them."""
    if isinstance(value, torch.Tensor):
        ours = dynjax.from_numpy(value.detach().numpy().copy())
        return ours.requires_grad_() if value.requires_grad else ours
    if isinstance(value, (list, tuple)):
        return type(value)(to_ours(item) for item in value)
    if isinstance(value, dict):
        return {key: to_ours(item) for key, item in value.items()}
    if isinstance(value, torch.dtype):
        return getattr(dynjax, str(value).removeprefix("torch."))
    return value


def tensors_of(value):
    if isinstance(value, (torch.Tensor, dynjax.Tensor)):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_of(v)] if isinstance(value, (list, tuple)) else []


# Random, so only their text and state are compared.
RANDOM = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout",
          "RReLU"}  # fmt: skip


def database():
    from torch.testing._internal.common_modules import module_db

    for info in module_db:
        if hasattr(dynjax.nn, info.module_cls.__name__):
            yield pytest.param(info, id=info.module_cls.__name__)


def check_sample(info, sample, training):
    """One sample of PyTorch's own module tests: text, state, outputs and gradients."""
    made = sample.constructor_input
    module = info.module_cls(*made.args, **made.kwargs)
    ours = getattr(dynjax.nn, info.module_cls.__name__)(*to_ours(made.args), **to_ours(made.kwargs))
    assert plain(repr(ours)) == plain(repr(module))
    state = module.state_dict()
    assert [(key, tuple(v.shape)) for key, v in ours.state_dict().items()] == [
        (key, tuple(v.shape)) for key, v in state.items()
    ]
    assert str(ours.load_state_dict(to_ours(dict(state)))) == "<All keys matched successfully>"
    module.train(training), ours.train(training)
    if type(module).__name__ in RANDOM and training:
        return
    given = sample.forward_input
    args, kwargs = to_ours(given.args), to_ours(given.kwargs)
    expected = tensors_of(module(*given.args, **given.kwargs))
    results = tensors_of(ours(*args, **kwargs))
    assert len(results) == len(expected)
    for result, theirs in zip(results, expected, strict=True):
        assert tuple(result.shape) == tuple(theirs.shape)
        assert str(result.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
        close(result, theirs)
    total, our_total = 0, 0
    for result, theirs in zip(results, expected, strict=True):
        assert result.requires_grad == theirs.requires_grad
        if theirs.requires_grad:
            weights = torch.linspace(0.5, 1.5, theirs.numel()).reshape(theirs.shape)
            total = total + (theirs * weights).sum()
            our_total = our_total + (result * to_ours(weights)).sum()
    if isinstance(total, torch.Tensor):
        total.backward()
        our_total.backward()
    leaves = [*tensors_of([given.args, given.kwargs]), *module.parameters()]
    our_leaves = [*tensors_of([args, kwargs]), *ours.parameters()]
    for leaf, our_leaf in zip(leaves, our_leaves, strict=True):
        if not leaf.is_leaf:
            continue
        assert (our_leaf.grad is None) == (leaf.grad is None)
        if leaf.grad is not None:
            close(our_leaf.grad, leaf.grad)
            leaf.grad = None
    for key, value in module.state_dict().items():
        close(ours.state_dict()[key], value)


def close(ours, theirs):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    scale = np.max(np.abs(theirs), initial=1.0, where=np.isfinite(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5 * scale, equal_nan=True)


@pytest.mark.parametrize("info", list(database()))
def test_module_database(info):
    torch.manual_seed(0)
    compared = 0
    # PyTorch's samples of these draw where to pool in float64, whatever the type asked for.
    double = info.module_cls.__name__.startswith("FractionalMaxPool")
    dtype = torch.float64 if double else torch.float32
    for training in (True, False) if info.train_and_eval_differ else (True,):
        samples = info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=True, training=training
        )
        # Each sample is a program to compile: some classes have hundreds of them.
        for sample in samples[:: max(1, len(samples) // 8)]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    check_sample(info, sample, training)
                except AttributeError as error:
                    if "dynjax.nn.functional" not in str(error):
                        raise
                    pytest.skip(str(error))
            compared += 1
    assert compared

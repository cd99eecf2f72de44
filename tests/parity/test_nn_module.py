"""Modules: what they hold, what they refuse to hold, their types and copies."""

import copy
import io
import pickle

import pytest

pytest.importorskip("torch")

from tests.parity.scenarios import Scenarios, attempt, check, fill, make_net  # noqa: E402

SCENARIOS = Scenarios()


@SCENARIOS.add
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


@SCENARIOS.add
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


@SCENARIOS.add
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


@SCENARIOS.add
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


@SCENARIOS.add
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


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    check(run)

"""Hooks of modules: their order, what they see and what they may change."""

import pytest

torch = pytest.importorskip("torch")

from tests.parity.scenarios import Scenarios, attempt, check, fill, make_net, warned  # noqa: E402

SCENARIOS = Scenarios()


@SCENARIOS.add
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


@SCENARIOS.add
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


@SCENARIOS.add
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


@SCENARIOS.add
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


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    check(run)

"""Hooks: when they run, what they get, what they may change."""

import copy
import pickle
import warnings

import pytest

import dynjax
from dynjax import nn
from dynjax.nn import hooks


class Twice(nn.Module):
    def forward(self, x, scale=2):
        return x * scale


def test_forward_pre_hook_replaces_arguments():
    module = Twice()
    module.register_forward_pre_hook(lambda m, args: args[0] + 1)
    module.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {**kwargs, "scale": 10}), with_kwargs=True
    )
    assert module(dynjax.tensor(1.0)).item() == 20.0


def test_forward_pre_hook_with_kwargs_returns_a_pair():
    module = Twice()
    module.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple of .new_args, new_kwargs"):
        module(dynjax.tensor(1.0))


def test_forward_hook_replaces_the_result_and_prepend_comes_first():
    module = Twice()
    module.register_forward_hook(lambda m, args, out: out + 1)
    module.register_forward_hook(lambda m, args, out: out * 100, prepend=True)
    assert module(dynjax.tensor(1.0)).item() == 201.0


def test_forward_hook_sees_keyword_arguments():
    seen = []
    module = Twice()
    module.register_forward_hook(lambda m, a, kw, out: seen.append(kw), with_kwargs=True)
    module(dynjax.tensor(1.0), scale=3)
    assert seen == [{"scale": 3}]


def test_always_called_hooks_run_after_an_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    seen = []

    def fails(module, args, out):
        raise KeyError("hook")

    module = Broken()
    module.register_forward_hook(lambda m, a, out: seen.append("never"))
    module.register_forward_hook(lambda m, a, out: seen.append(out), always_call=True)
    module.register_forward_hook(fails, always_call=True)
    with pytest.raises(ValueError, match="broken"), pytest.warns(UserWarning, match="silenced"):
        module(1)
    assert seen == [None]


def test_handle_removes_everywhere():
    module = Twice()
    with module.register_forward_hook(
        lambda m, a, k, out: out * 0, with_kwargs=True, always_call=True
    ):
        assert module(dynjax.tensor(1.0)).item() == 0.0
    assert module(dynjax.tensor(1.0)).item() == 2.0
    assert not module._forward_hooks and not module._forward_hooks_with_kwargs
    assert not module._forward_hooks_always_called


def test_handle_outlives_its_module_and_pickles():
    module = Twice()
    handle = module.register_forward_hook(print)
    twin_module, twin_handle = pickle.loads(pickle.dumps((module, handle)))
    twin_handle.remove()
    assert not twin_module._forward_hooks and module._forward_hooks
    del module
    handle.remove()
    later = Twice().register_forward_hook(print)
    assert later.id > handle.id


def test_hooks_are_copied_with_their_module():
    module = Twice()
    module.register_forward_hook(print_nothing)
    twin = copy.deepcopy(module)
    twin._forward_hooks.clear()
    assert module._forward_hooks


def print_nothing(*args):
    return None


def test_full_backward_hook_sees_and_replaces_gradients():
    layer = nn.Linear(2, 1)
    seen = []

    def hook(module, grad_input, grad_output):
        seen.append((module, grad_input, grad_output))
        return tuple(g * 10 for g in grad_input)

    layer.register_full_backward_hook(hook)
    x = dynjax.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    [(module, grad_input, grad_output)] = seen
    assert module is layer and grad_output[0].tolist() == [[1.0]]
    assert dynjax.equal(grad_input[0], layer.weight.detach())
    assert dynjax.allclose(x.grad, layer.weight.detach() * 10)


def test_full_backward_pre_hook_replaces_grad_output():
    layer = nn.Linear(2, 1)
    layer.register_full_backward_pre_hook(lambda module, grads: (grads[0] * 5,))
    layer(dynjax.ones(1, 2, requires_grad=True)).sum().backward()
    assert layer.bias.grad.item() == 5.0


def test_backward_hooks_give_none_for_what_is_no_tensor():
    class Two(nn.Module):
        def forward(self, x, text, y):
            return x * y, text

    seen = []
    module = Two()
    module.register_full_backward_hook(lambda m, i, o: seen.append((i, o)))
    x = dynjax.ones(2, requires_grad=True)
    module(x, "a", dynjax.ones(2))[0].sum().backward()
    [(grad_input, grad_output)] = seen
    assert grad_input[1] is None and grad_output[1] is None
    assert grad_input[2].tolist() == [0.0, 0.0]
    assert grad_input[0].tolist() == [1.0, 1.0] == grad_output[0].tolist()


def test_backward_hook_must_return_as_many_gradients():
    layer = nn.Linear(1, 1)
    layer.register_full_backward_hook(lambda m, i, o: (None, None, None))
    y = layer(dynjax.ones(1, 1, requires_grad=True))
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 3, but expected 1"):
        y.sum().backward()


def test_backward_hook_without_input_gradients_warns():
    seen = []
    layer = nn.Linear(1, 1)
    layer.register_full_backward_hook(lambda m, i, o: seen.append(i))
    y = layer(dynjax.ones(1, 1)).sum()
    with pytest.warns(UserWarning, match="no inputs require gradients"):
        y.backward()
    assert seen == [(None,)]


def test_backward_hooks_are_silent_without_gradients():
    layer = nn.Linear(1, 1)
    layer.register_full_backward_hook(lambda m, i, o: pytest.fail("called"))
    with dynjax.no_grad():
        layer(dynjax.ones(1, 1))


def test_two_kinds_of_backward_hooks_do_not_mix():
    layer = nn.Tanh()
    layer.register_full_backward_hook(lambda m, i, o: None)
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full"):
        layer.register_backward_hook(lambda m, i, o: None)


def test_old_backward_hook_sees_the_last_operation():
    seen = []
    layer = nn.Tanh()
    layer.register_backward_hook(lambda m, i, o: seen.append((type(m).__name__, o[0].item())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer(dynjax.ones(1, requires_grad=True) * 2)
    (y * 3).sum().backward()
    assert seen == [("Tanh", 3.0)]


def test_hooks_of_all_modules_come_first():
    seen = []
    module = Twice()
    module.register_forward_hook(lambda *args: seen.append("own"))
    with hooks.register_module_forward_hook(lambda *args: seen.append("all")):
        module(dynjax.tensor(1.0))
    module(dynjax.tensor(1.0))
    assert seen == ["all", "own", "own"]


def test_registration_hooks_may_replace():
    with hooks.register_module_module_registration_hook(lambda m, name, child: nn.Identity()):
        net = nn.Sequential(nn.ReLU())
    assert type(net[0]) is nn.Identity
    doubled = lambda m, name, param: nn.Parameter(param * 2)  # noqa: E731
    module = nn.Module()
    with hooks.register_module_parameter_registration_hook(doubled):
        module.a = nn.Parameter(dynjax.ones(1))
    with hooks.register_module_buffer_registration_hook(lambda m, name, buf: buf + 1):
        module.register_buffer("b", dynjax.ones(1))
    assert module.a.item() == 2.0 and module.b.item() == 2.0

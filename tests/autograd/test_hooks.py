"""Hooks on tensors and nodes, retained gradients."""

import numpy as np
import pytest

import dynjax

ACCUMULATE = "torch::autograd::AccumulateGrad"


def leaf():
    return dynjax.tensor([1.0, 2.0, 3.0], requires_grad=True)


def test_a_hook_sees_and_replaces_the_gradient_of_a_leaf():
    x = leaf()
    seen = []
    handle = x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 2)
    x.sum().backward()
    assert seen == [[1.0, 1.0, 1.0]] and x.grad.tolist() == [2.0, 2.0, 2.0]
    handle.remove()
    x.sum().backward()
    assert len(seen) == 1


def test_a_hook_on_an_intermediate_changes_what_flows_below():
    x = leaf()
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert x.grad.tolist() == [20.0, 20.0, 20.0]


def test_hooks_that_are_registered_after_a_replayed_step_run():
    x = leaf()
    for _ in range(2):
        x.grad = None
        (x * 3).sum().backward()
    x.register_hook(lambda g: g + 1)
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_post_accumulate_hooks_see_the_leaf():
    x = leaf()
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.tolist()))
    x.sum().backward()
    x.sum().backward()
    assert seen == [[1.0] * 3, [2.0] * 3]


def test_retain_grad():
    x = leaf()
    y = x * 2
    y.retain_grad()
    assert y.retains_grad and not x.retains_grad
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0, 12.0]


def test_node_hooks():
    x = leaf()
    y = x * 2
    seen = []
    y.grad_fn.register_hook(lambda inner, outer: seen.append((inner[0].tolist(), len(outer))))
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 3,))
    y.sum().backward()
    assert seen == [([6.0] * 3, 1)] and x.grad.tolist() == [6.0] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.register_hook(print), "cannot register a hook on a tensor that doesn't"),
        (lambda t: t.retain_grad(), "can't retain_grad on Tensor that has requires_grad=False"),
        (lambda t: t.register_post_accumulate_grad_hook(print), "doesn't require gradient"),
    ],
)
def test_tensors_without_gradient_take_no_hooks(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(dynjax.zeros(3))


def test_a_hook_must_return_a_tensor_of_the_same_shape():
    x = leaf()
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="has changed the size of value"):
        x.sum().backward()
    y = leaf()
    y.register_hook(lambda g: "no")
    with pytest.raises(TypeError, match="expected Variable, but hook returned 'str'"):
        y.sum().backward()


def test_nodes_lead_to_the_leaves():
    x = leaf()
    y = (x * 2).exp().sum()
    names = []
    node = y.grad_fn
    while node is not None:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    assert names == ["SumBackward0", "ExpBackward0", "MulBackward0", ACCUMULATE]
    assert y.grad_fn is y.grad_fn
    end = y.grad_fn.next_functions[0][0].next_functions[0][0].next_functions[0][0]
    assert end.variable is x
    assert x.grad_fn is None and np.isclose(y.item(), np.exp([2, 4, 6]).sum())

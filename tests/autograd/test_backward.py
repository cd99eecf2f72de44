"""backward() and autograd.grad: values against jax.grad, messages as PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import autograd
from dynjax.autograd.multi_tensor import MultiTensor
from dynjax.engine import flush


def leaf(*shape, seed=0):
    data = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return dynjax.from_numpy(data).requires_grad_(), jnp.asarray(data)


def close(tensor, array):
    np.testing.assert_allclose(tensor.detach().numpy(), np.asarray(array), rtol=2e-6, atol=1e-6)


def test_gradients_of_a_chain_equal_jax_grad():
    x, jx = leaf(3, 4)
    w, jw = leaf(4, 2, seed=1)
    ((x @ w).tanh() * 0.5).sum().backward()
    gx, gw = jax.grad(lambda x, w: (jnp.tanh(x @ w) * 0.5).sum(), argnums=(0, 1))(jx, jw)
    close(x.grad, gx)
    close(w.grad, gw)


def test_gradients_accumulate_until_they_are_cleared():
    x, jx = leaf(3)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        close(x.grad, 2 * times * jx)
    x.grad = None
    x.sum().backward()
    close(x.grad, jnp.ones(3))


def test_a_tensor_used_twice_gets_the_sum():
    x, jx = leaf(3)
    y = x.exp()
    (y * y + y).sum().backward()
    close(x.grad, jax.grad(lambda x: (jnp.exp(x) ** 2 + jnp.exp(x)).sum())(jx))


def test_a_cotangent_may_be_given():
    x, jx = leaf(2, 3)
    v, jv = leaf(2, 3, seed=1)
    (x.sin()).backward(v.detach())
    close(x.grad, jnp.cos(jx) * jv)


def test_several_roots_at_once():
    x, jx = leaf(3)
    autograd.backward([x.sum(), (x * x).sum()])
    close(x.grad, 1 + 2 * jx)


def test_grad_leaves_the_leaves_alone():
    x, jx = leaf(3)
    y, _ = leaf(3, seed=1)
    gx, gy = autograd.grad((x * y).sum(), (x, y))
    close(gx, y.detach().numpy())
    close(gy, jx)
    assert x.grad is None and y.grad is None


def test_grad_of_an_intermediate():
    x, jx = leaf(3)
    y = x * 2
    (g,) = autograd.grad((y * y).sum(), y)
    close(g, 4 * jx)


def test_second_and_third_derivatives():
    x, jx = leaf(4)
    (first,) = autograd.grad((x**4).sum(), x, create_graph=True)
    (second,) = autograd.grad(first.sum(), x, create_graph=True)
    (third,) = autograd.grad(second.sum(), x)
    close(first, 4 * jx**3)
    close(second, 12 * jx**2)
    close(third, 24 * jx)


def test_a_gradient_penalty_reaches_the_parameters():
    x, jx = leaf(3)
    w, jw = leaf(3, seed=1)
    (g,) = autograd.grad((x * w).tanh().sum(), x, create_graph=True)
    g.square().sum().backward()

    def penalty(w):
        return (jax.grad(lambda x: jnp.tanh(x * w).sum())(jx) ** 2).sum()

    close(w.grad, jax.grad(penalty)(jw))


def test_backward_after_an_observation_in_between():
    x, jx = leaf(3)
    y = x.exp()
    assert y.sum().item() > 0
    z = (y * x).sum()
    z.item()
    z.backward()
    close(x.grad, jax.grad(lambda x: (jnp.exp(x) * x).sum())(jx))


def test_ten_thousand_operations_need_no_recursion():
    x, _ = leaf(2)
    y = x
    for _ in range(10_000):
        y = y + 1.0
    y.sum().backward()
    close(x.grad, jnp.ones(2))


def test_integers_and_what_does_not_matter_get_no_gradient():
    x, _ = leaf(3)
    y = x.argmax()
    assert not y.requires_grad
    assert (x.detach() * 2).grad_fn is None


def test_unused_inputs():
    x, _ = leaf(3)
    y, _ = leaf(3, seed=1)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        autograd.grad(x.sum(), (x, y))
    assert autograd.grad(x.sum(), (x, y), allow_unused=True)[1] is None
    close(autograd.grad(x.sum(), (x, y), materialize_grads=True)[1], jnp.zeros(3))
    with pytest.raises(ValueError, match="allow_unused"):
        autograd.grad(x.sum(), (x, y), allow_unused=False, materialize_grads=True)


def test_inputs_restrict_accumulation():
    x, _ = leaf(3)
    y, jx = leaf(3, seed=1)
    (x * y).sum().backward(inputs=[x])
    assert y.grad is None
    close(x.grad, jx)
    with pytest.raises(RuntimeError, match="cannot be empty"):
        x.sum().backward(inputs=[])


def test_a_graph_is_freed_by_backward_unless_retained():
    x, jx = leaf(3)
    loss = x.exp().sum()
    loss.backward(retain_graph=True)
    loss.backward()
    close(x.grad, 2 * jnp.exp(jx))
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()
    close(x.grad, 2 * jnp.exp(jx))


def test_a_freed_graph_is_still_freed_after_a_flush():
    x, _ = leaf(3)
    loss = x.exp().sum()
    loss.backward()
    loss.item()
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()
    assert loss.grad_fn.name() == "SumBackward0"


def test_what_saved_nothing_may_run_again():
    x, _ = leaf(3)
    loss = (x + 1).sum()
    loss.backward()
    loss.backward()
    close(x.grad, 2 * jnp.ones(3))


@pytest.mark.parametrize("observe", [False, True])
def test_modified_since_saved(observe):
    x, _ = leaf(3)
    y = x * 2
    z = (y * y).sum()
    if observe:
        z.item()
    y.add_(1.0)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: .*version 1; expec"):
        z.backward()
    assert x.grad is None


def test_scalars_only_without_a_cotangent():
    x, _ = leaf(3)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        dynjax.zeros(()).backward()
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\]"):
        (x * 2).backward(dynjax.ones(4))


def test_a_step_seen_before_is_replayed(monkeypatch):
    monkeypatch.setattr(dynjax.config, "policy", "compile")  # whatever was compiled before
    x, jx = leaf(3)
    flush()  # whatever was recorded before has run
    with dynjax.explain() as compiles:
        for lr in (0.5, 0.25, 0.125):
            x.grad = None
            (x.sin() * lr).sum().backward()
            close(x.grad, jnp.cos(jx) * lr)
    assert len(compiles) == 1


def _write_row(y):
    y[0] = y[1]


@pytest.mark.parametrize(
    "write",
    [
        _write_row,
        lambda y: y.view(-1).add_(1.0),
        lambda y: y[0].copy_(y[1]),
        lambda y: y.t().add_(1),
    ],
)
@pytest.mark.parametrize("flush", [False, True])
def test_a_graph_that_writes_through_a_view_is_walked_once(write, flush):
    """Although neither the sum nor the write reads what it was applied to."""
    x, _ = leaf(2, 3)
    y = 1.5 - x
    write(y)
    if flush:
        y.tolist()
    y.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def test_leaves_that_one_operation_wrote_together_each_get_their_gradient():
    """Although no flush lies between, so that they are results of one step of the trace."""

    def add_one(*, params):
        return ([x + 1 for x in params],)

    update = MultiTensor(add_one, writes=("params",))
    (x, jx), (y, jy) = leaf(3), leaf(3)
    with dynjax.no_grad():
        update(params=[x, y])
    (x * y).sum().backward()
    close(x.grad, jy + 1)
    close(y.grad, jx + 1)

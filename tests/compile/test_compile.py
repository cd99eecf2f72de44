"""`dynjax.compile`: what a replayed call gives is what the call gives."""

import dataclasses
import importlib
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from dynjax import nn
from dynjax.engine.capture import Unsupported

F = nn.functional
part = importlib.import_module("dynjax.compile.part")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class Runs:
    """How often a function's Python ran, seen from outside of it."""

    def __init__(self, fn):
        self.code, self.count = fn.__code__, 0

    def __enter__(self):
        import sys

        def see(frame, event, arg):
            if event == "call" and frame.f_code is self.code:
                self.count += 1

        sys.setprofile(see)
        return self

    def __exit__(self, *exc):
        import sys

        sys.setprofile(None)


def test_a_call_is_one_node_and_its_python_runs_once():
    def body(x, y):
        return (x * y).sin().sum()

    f = torch.compile(body)
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])
    with Runs(body) as runs:
        for _ in range(4):
            result = f(x, y)
            assert result.grad_fn.name() == "CompiledFunctionBackward"
            x.grad = None
            result.backward()
            expected = jax.grad(lambda a: jnp.sin(a * y.numpy()).sum())(jnp.array([1.0, 2.0]))
            np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)
    assert runs.count == 1


def test_gradients_to_second_order():
    f = torch.compile(lambda x: (x.tanh() * x.exp()).sum())
    for _ in range(2):
        x = torch.tensor([0.3, -0.7], requires_grad=True)
        (first,) = torch.autograd.grad(f(x), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        pure = lambda a: (jnp.tanh(a) * jnp.exp(a)).sum()  # noqa: E731
        at = jnp.array([0.3, -0.7])
        np.testing.assert_allclose(first.detach().numpy(), jax.grad(pure)(at), rtol=1e-5)
        hessian = jax.hessian(pure)(at)
        np.testing.assert_allclose(second.numpy(), hessian.sum(0), rtol=1e-5)


def test_gradients_stop_where_the_function_stopped_them():
    def body(x):
        with torch.no_grad():
            scale = x * 3
        return (x.detach() * x * scale).sum()

    f = torch.compile(body)
    for _ in range(3):
        x = torch.tensor([2.0, 5.0], requires_grad=True)
        f(x).backward()
        np.testing.assert_allclose(x.grad.numpy(), [12.0, 75.0])


def test_a_parameter_read_with_and_without_gradient():
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    f = torch.compile(lambda x: (w * x * w.detach()).sum())
    for _ in range(3):
        w.grad = None
        f(torch.tensor([1.0, 10.0])).backward()
        np.testing.assert_allclose(w.grad.numpy(), [2.0, 30.0])


@dataclasses.dataclass
class Pair:
    first: object
    second: object


def test_containers_go_in_and_come_out():
    def body(batch, *, scale):
        pair = batch["pair"]
        return {"sum": pair.first + pair.second[0], "rest": [pair.second[1] * scale, "text", 3]}

    f = torch.compile(body)
    x, y, z = (torch.tensor(float(k)) for k in (1, 2, 3))
    for scale in (2.0, 2.0, 5.0):
        got = f({"pair": Pair(x, (y, z))}, scale=scale)
        assert got["sum"].item() == 3 and got["rest"][0].item() == 3 * scale
        assert got["rest"][1:] == ["text", 3] and type(got["rest"]) is list


def test_each_signature_has_its_recording():
    def body(x, flag=False):
        return x.sum() if flag else x.sum() * 0 + x.shape[0]

    f = torch.compile(body)
    with Runs(body) as runs:
        for _ in range(2):
            assert f(torch.ones(3)).item() == 3
            assert f(torch.ones(5)).item() == 5
            assert f(torch.ones(5), flag=True).item() == 5
            assert f(torch.ones(3, dtype=torch.float64)).dtype is torch.float64
            with torch.no_grad():
                assert not f(torch.ones(3, requires_grad=True)).requires_grad
            assert f(torch.ones(3, requires_grad=True)).requires_grad
    assert runs.count == 6


def test_the_same_tensor_twice_is_another_signature():
    def body(x, y):
        x.add_(1)
        return y.sum()

    f = torch.compile(body)
    for _ in range(2):
        x, y = torch.zeros(2), torch.zeros(2)
        assert f(x, y).item() == 0
        assert f(x, x).item() == 4


def test_an_argument_returned_is_the_argument():
    f = torch.compile(lambda x: (x, x + 1))
    x = torch.ones(2)
    for _ in range(2):
        same, other = f(x)
        assert same is x and other is not x


def test_arguments_change_in_place():
    f = torch.compile(lambda x, y: x.mul_(y))
    for _ in range(3):
        x = torch.tensor([1.0, 2.0])
        view = x[1:]
        version = x._version
        assert f(x, torch.tensor(3.0)) is x
        assert x.tolist() == [3, 6] and view.tolist() == [6] and x._version == version + 1


def test_nested_compile_is_part_of_the_outer_one():
    inner = torch.compile(lambda x: x * 2)
    outer = torch.compile(lambda x: inner(x).sum())
    x = torch.ones(3, requires_grad=True)
    for _ in range(2):
        result = outer(x)
        assert result.grad_fn.next_functions[0][0].name() == "torch::autograd::AccumulateGrad"
        assert result.item() == 6


def test_replays_fuse_with_what_surrounds_them():
    f = torch.compile(lambda x: x.sin())
    x = torch.ones(4, requires_grad=True)
    f(x).sum().item()
    with torch.explain() as compiles:
        for _ in range(3):
            x.grad = None
            (f(x * 2) + f(x)).sum().backward()
            x.grad.numpy()
    assert len(compiles) == 1
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.cos([2.0] * 4) + np.cos([1.0] * 4), rtol=1e-5)


def test_eager_runs_the_python():
    def body(x):
        return x + 1

    f = torch.compile(body)
    with Runs(body) as runs, torch.eager():
        assert f(torch.ones(1)).item() == 2
        assert f(torch.ones(1)).item() == 2
    assert runs.count == 2


def test_tensor_hooks_see_the_gradient():
    f = torch.compile(lambda x: x * 3)
    seen = []
    for _ in range(2):
        x = torch.ones(2, requires_grad=True)
        y = f(x)
        y.register_hook(lambda g: seen.append(g.tolist()))
        y.sum().backward()
        assert x.grad.tolist() == [3, 3]
    assert seen == [[1, 1], [1, 1]]


def test_random_numbers_go_on():
    def draw(f):
        torch.manual_seed(0)
        return [f(torch.ones(50)).tolist() for _ in range(4)]

    body = lambda x: F.dropout(F.dropout(x, 0.3), 0.5)  # noqa: E731
    plain, compiled = draw(body), draw(torch.compile(body))
    assert plain == compiled and plain[0] != plain[1]


# --- modules


def test_a_compiled_module_is_the_module_behind_a_call():
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    compiled = torch.compile(model)
    assert compiled._orig_mod is model and isinstance(compiled, nn.Module)
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in model.parameters()]
    assert list(compiled.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    x = torch.ones(1, 2)
    compiled.eval()
    assert not model.training and not compiled.training
    np.testing.assert_array_equal(compiled(x).detach().numpy(), model(x).detach().numpy())
    compiled.note = 3
    assert model.note == 3
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'nothing'"):
        compiled.nothing


def test_training_mode_is_part_of_the_signature():
    model = nn.Sequential(nn.BatchNorm1d(2))
    f = torch.compile(model)
    x = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    for _ in range(2):
        f.train()
        assert abs(f(x).mean().item()) < 1e-6
        f.eval()
        assert abs(f(x).mean().item()) > 1e-3
    assert model[0].num_batches_tracked.item() == 2
    np.testing.assert_allclose(model[0].running_mean.numpy(), [0.19, 0.57], rtol=1e-5)


def test_compile_in_place():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return self.linear(x).relu()

    model = Model()
    x = torch.ones(1, 2, requires_grad=True)
    before = model(x)
    model.compile()
    with Runs(Model.forward) as runs:
        for _ in range(3):
            after = model(x)
    assert after.grad_fn.name() == "CompiledFunctionBackward" and runs.count == 1
    np.testing.assert_array_equal(before.detach().numpy(), after.detach().numpy())


def test_decorator_with_and_without_arguments():
    @torch.compile
    def one(x):
        return x + 1

    @torch.compile(fullgraph=True, dynamic=True, mode="reduce-overhead")
    def two(x):
        return x + 2

    class Methods:
        @torch.compile
        def three(self, x):
            return x + 3

    x = torch.zeros(1)
    assert (one(x).item(), two(x).item(), Methods().three(x).item()) == (1, 2, 3)
    assert one.__name__ == "one" and torch.compile(one) is one
    assert torch.compile(Methods, disable=True) is Methods


# --- training steps


def model_and_optimizer(make):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    )
    return model, make(model.parameters())


def train(compiled, make, steps=7, change=None, clip=False, fresh=True):
    model, optimizer = model_and_optimizer(make)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return loss

    run = torch.compile(step) if compiled else step
    rng = np.random.default_rng(0)
    losses = []
    with Runs(step) as runs:
        for k in range(steps):
            x = torch.from_numpy(rng.standard_normal((6, 4), np.float32))
            y = torch.from_numpy(rng.integers(0, 3, 6))
            if change is not None:
                change(k, optimizer, model)
            losses.append(run(x, y).item())
    kept = [t.detach().numpy() for t in model.state_dict().values()]
    kept += [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    for group in optimizer.state_dict()["state"].values():
        kept += [t.numpy() for t in group.values() if t is not None]
    return losses, kept, runs.count


def assert_same_training(make, **options):
    plain = train(False, make, **options)
    compiled = train(True, make, **options)
    np.testing.assert_allclose(plain[0], compiled[0], rtol=1e-6)
    assert len(plain[1]) == len(compiled[1])
    for a, b in zip(plain[1], compiled[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7)
    return compiled[2]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_training_step_replays(make):
    runs = assert_same_training(make)
    assert runs == 2  # the first call makes the optimizer's state, the second is recorded


def test_learning_rate_changes_from_outside():
    def change(k, optimizer, model):
        optimizer.param_groups[0]["lr"] = 0.01 / (k + 1)

    assert assert_same_training(OPTIMIZERS["adam"], change=change) == 2


def test_a_schedule_changes_it_too():
    schedules = {}

    def change(k, optimizer, model):
        if k == 0:
            schedules[id(optimizer)] = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        else:
            schedules[id(optimizer)].step()

    assert assert_same_training(OPTIMIZERS["momentum"], change=change) == 2


def _decays(k, optimizer, model):
    optimizer.param_groups[0]["weight_decay"] = 0.1 * (k > 3)


def _changes_a_list(k, optimizer, model):
    group = optimizer.param_groups[0]
    group["betas"] = [0.9, 0.99] if k == 0 else group["betas"]
    if k == 4:
        group["betas"][0] = 0.2


def _changes_a_tensor(k, optimizer, model):
    group = optimizer.param_groups[0]
    if k == 0:
        group["lr"] = torch.tensor(0.01)
    elif k == 4:
        group["lr"].mul_(10)


def _counts_anew(k, optimizer, model):
    if k == 4:
        for state in optimizer.state.values():
            state["step"].zero_()


def _moves(k, optimizer, model):
    if k == 4:
        first, second = optimizer.param_groups
        second["params"].insert(0, first["params"].pop())


def _two_groups(params):
    first, *others = params
    return torch.optim.Adam([{"params": [first, others[0]]}, {"params": others[1:], "lr": 0.1}])


@pytest.mark.parametrize(
    "change", [_decays, _changes_a_list, _changes_a_tensor, _counts_anew, _moves]
)
def test_what_an_optimizer_goes_by_changes(change):
    assert_same_training(_two_groups if change is _moves else OPTIMIZERS["adam"], change=change)


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
def test_a_state_tensor_is_replaced(name):
    def trained(compiled):
        weights = [nn.Parameter(torch.tensor([1.0, -2.0, 3.0]) * k) for k in (1, 2, 3)]
        optimizer = torch.optim.Adam(weights, lr=0.1)

        def step(x):
            optimizer.zero_grad()
            sum((w * x).square().sum() for w in weights).backward()
            optimizer.step()

        run = torch.compile(step) if compiled else step
        for k in range(8):
            if k == 4:
                state = optimizer.state[weights[1]]
                state[name] = torch.full_like(state[name], 2.0)
            run(torch.tensor([1.0, 2.0, k + 1.0]))
        return [w.tolist() for w in weights]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-5)


def test_gradients_are_clipped_inside():
    assert_same_training(OPTIMIZERS["adam"], clip=True)


def test_the_model_is_changed_between_steps():
    def change(k, optimizer, model):
        if k == 3:
            model.eval()
        if k == 4:
            optimizer.load_state_dict(optimizer.state_dict())
        if k == 5:
            with torch.no_grad():
                model[0].weight.mul_(0.5)
        if k == 6:
            model[4].bias.requires_grad_(False)

    assert_same_training(OPTIMIZERS["adam"], change=change, steps=9)


def test_gradients_are_new_after_every_step_whether_looked_at_or_not():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile
    def step(x):
        loss = model(x).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for k in range(6):
        x = torch.full((5, 3), 1.0 + k)
        before = [p.detach().numpy().copy() for p in model.parameters()]
        step(x)
        if k % 3:
            for p, old in zip(model.parameters(), before, strict=True):
                expected = (old - p.detach().numpy()) / 0.1
                np.testing.assert_allclose(p.grad.numpy(), expected, rtol=2e-4, atol=1e-5)


def test_accumulating_gradients():
    def run(compiled):
        model, optimizer = model_and_optimizer(OPTIMIZERS["sgd"])

        def micro(x, y):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss.detach()

        micro = torch.compile(micro) if compiled else micro
        rng = np.random.default_rng(0)
        for k in range(9):
            micro(
                torch.from_numpy(rng.standard_normal((6, 4), np.float32)),
                torch.from_numpy(rng.integers(0, 3, 6)),
            )
            if k % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
        return [p.detach().numpy() for p in model.parameters()]

    for a, b in zip(run(False), run(True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_what_others_hold_stays():
    model, optimizer = model_and_optimizer(OPTIMIZERS["adam"])

    @torch.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = torch.linspace(-1, 2, 24).reshape(6, 4).exp(), torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(3):
        step(x, y)
    weight, grad = model[0].weight, model[0].weight.grad
    array, detached, copy = weight.detach().numpy(), weight.detach(), weight.clone()
    values, grads = array.copy(), grad.numpy().copy()
    step(x, y)
    np.testing.assert_array_equal(array, values)
    np.testing.assert_array_equal(copy.detach().numpy(), values)
    np.testing.assert_array_equal(grad.numpy(), grads)
    assert model[0].weight.grad is not grad
    np.testing.assert_array_equal(detached.numpy(), weight.detach().numpy())
    assert not np.array_equal(weight.detach().numpy(), values)


def test_the_loss_of_a_step_has_a_consumed_graph():
    model, optimizer = model_and_optimizer(OPTIMIZERS["sgd"])

    @torch.compile
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(4):
        loss = step(torch.ones(3, 4))
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()
    assert loss.grad_fn.name() == "CompiledFunctionBackward"


def test_parameters_keep_their_buffers():
    model, optimizer = model_and_optimizer(OPTIMIZERS["adam"])

    @torch.compile
    def step(x):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    x = torch.ones(3, 4)
    for _ in range(3):
        step(x)
    before = model[0].weight._v.array
    pointer = before.unsafe_buffer_pointer()
    del before
    step(x)
    assert model[0].weight._v.array.unsafe_buffer_pointer() == pointer


def test_threads():
    f = torch.compile(lambda x: F.dropout(x * 2, 0.0).sin().sum(), fullgraph=True)
    right = []

    def work(k):
        for _ in range(5):
            got = f(torch.full((k + 1,), float(k))).item()
            right.append(abs(got - (k + 1) * np.sin(2 * k)) < 1e-5)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 20 and all(right)


def test_inside_somebody_elses_transformation():
    from dynjax.interop.jax import to_jax

    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    x = np.ones((2, 3), np.float32)
    compiled = torch.compile(model)
    compiled(torch.from_numpy(x))
    gradients = []
    for module in (compiled, model):
        pure, params = to_jax(module)
        loss = jax.jit(jax.grad(lambda p, pure=pure: pure(p, x).sum()))
        gradients.append([np.asarray(g) for g in jax.tree.leaves(loss(params))])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# --- failures


def test_bad_arguments():
    with pytest.raises(AssertionError, match="A callable function is expected, but <class 'int'>"):
        torch.compile(3)
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast"):
        torch.compile(torch.sin, mode="fast")
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(torch.sin, mode="default", options={})
    with pytest.raises(RuntimeError, match="Invalid backend: 'nvcc'"):
        torch.compile(torch.sin, backend="nvcc")


def test_an_error_inside_is_the_users():
    f = torch.compile(lambda x, y: x @ y)
    with pytest.raises(RuntimeError, match="shape"):
        f(torch.ones(2, 3), torch.ones(2, 3))
    assert f(torch.ones(2, 3), torch.ones(3, 2)).sum().item() == 12


def test_what_fails_when_run_is_named_and_nothing_changes():
    from dynjax.interop.jax import from_function

    def host(x):
        if float(x[0]) < 0:
            raise ValueError("negative")
        return x

    check = from_function(
        lambda x: jax.pure_callback(host, jax.ShapeDtypeStruct((2,), jnp.float32), x)
    )
    total = torch.zeros(2)

    @torch.compile
    def f(x):
        total.add_(check(x))
        return total * 2

    for _ in range(2):
        assert f(torch.ones(2)).tolist() is not None
    before, other = total.tolist(), torch.ones(2) + 1
    with pytest.raises(RuntimeError, match="test_compile.py"):
        f(torch.tensor([-1.0, 1.0])).tolist()
    assert total.tolist() == before and other.tolist() == [2, 2]
    assert f(torch.ones(2)).tolist() == [2 * before[0] + 2] * 2


def test_unsupported_is_a_runtime_error():
    assert issubclass(Unsupported, RuntimeError)

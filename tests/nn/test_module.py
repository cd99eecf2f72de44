"""Module: its members, how they are found, converted, copied and shown."""

import copy
import pickle
import threading

import pytest

import dynjax
from dynjax import nn
from dynjax.engine.trace import state


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Linear(3, 1)
        self.scale = nn.Parameter(dynjax.ones(1))
        self.register_buffer("count", dynjax.zeros(1))
        self.register_buffer("cache", dynjax.zeros(1), persistent=False)

    def forward(self, x):
        return self.second(self.first(x).relu()) * self.scale


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 3)
        self.decoder = nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.again = self.encoder


def test_assigning_registers():
    net = Net()
    assert list(net._parameters) == ["scale"]
    assert list(net._modules) == ["first", "second"]
    assert list(net._buffers) == ["count", "cache"]
    assert [name for name, _ in net.named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "second.weight",
        "second.bias",
    ]
    assert list(net.state_dict()) == [
        "scale",
        "count",
        "first.weight",
        "first.bias",
        "second.weight",
        "second.bias",
    ]


def test_plain_values_and_tensors_are_plain_attributes():
    module = nn.Module()
    module.size = 3
    module.tensor = dynjax.ones(1)
    assert module.size == 3 and not module._buffers and not module._parameters


def test_a_parameter_takes_the_place_of_what_was_there():
    module = nn.Module()
    module.a = 3
    module.b = nn.ReLU()
    module.register_buffer("c", dynjax.ones(1), persistent=False)
    for name in "abc":
        setattr(module, name, nn.Parameter(dynjax.ones(1)))
    assert list(module._parameters) == ["a", "b", "c"]
    assert not module._modules and not module._buffers
    assert not module._non_persistent_buffers_set and "a" not in vars(module)


def test_buffer_class_registers_a_buffer():
    module = nn.Module()
    module.kept = nn.Buffer(dynjax.ones(2))
    module.hidden = nn.Buffer(dynjax.ones(2), persistent=False)
    assert list(module._buffers) == ["kept", "hidden"]
    assert list(module.state_dict()) == ["kept"]
    module.hidden = dynjax.zeros(2)
    assert list(module.state_dict()) == ["kept"]


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("scale", 3, TypeError, r"cannot assign 'int' as parameter 'scale' \(torch.nn.Parameter"),
        ("first", "x", TypeError, r"cannot assign 'str' as child module 'first' \(torch.nn.Module"),
        ("count", 3, TypeError, r"cannot assign 'int' as buffer 'count' \(torch.nn.Buffer"),
    ],
)
def test_members_keep_their_kind(name, value, error, message):
    net = Net()
    before = getattr(net, name)
    with pytest.raises(error, match=message):
        setattr(net, name, value)
    assert getattr(net, name) is before


def test_names_are_checked():
    net = Net()
    for register, value in (
        (net.register_buffer, dynjax.ones(1)),
        (net.register_parameter, nn.Parameter(dynjax.ones(1))),
        (net.add_module, nn.ReLU()),
    ):
        with pytest.raises(TypeError, match="name should be a string. Got int"):
            register(3, value)
        with pytest.raises(KeyError, match='can.*t contain "."'):
            register("a.b", value)
        with pytest.raises(KeyError, match="can.*t be empty string"):
            register("", value)
        with pytest.raises(KeyError, match="attribute 'training' already exists"):
            register("training", value)


def test_a_parameter_must_be_a_leaf():
    net, param = Net(), nn.Parameter(dynjax.ones(1))
    with pytest.raises(TypeError, match="object to parameter 'x' .torch.nn.Parameter or None"):
        net.register_parameter("x", dynjax.ones(1))
    computed = param * 2
    computed.__class__ = nn.Parameter
    with pytest.raises(ValueError, match="Cannot assign non-leaf Tensor to parameter 'x'"):
        net.register_parameter("x", computed)
    assert "x" not in net._parameters


def test_super_init_comes_first():
    class Late(nn.Module):
        def __init__(self, value):
            self.value = value

    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__"):
        Late(nn.Parameter(dynjax.ones(1)))
    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__"):
        Late(nn.ReLU())
    assert Late(3).value == 3


def test_a_missing_attribute_names_class_and_attribute():
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'missing'"):
        Net().missing
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'weight'"):
        nn.Linear.__new__(nn.Linear).weight
    with pytest.raises(AttributeError, match="type object 'Linear' has no attribute 'weight'"):
        nn.Linear.weight


def test_a_weight_may_become_a_plain_attribute():
    layer = nn.Linear(2, 2, bias=False)
    weight = layer.weight
    del layer.weight
    assert not hasattr(layer, "weight")
    layer.weight = weight * 2
    assert not layer._parameters.get("weight")
    x = dynjax.ones(1, 2)
    assert dynjax.allclose(layer(x), x @ (weight * 2).t())


def test_shared_members_are_listed_once():
    net = Tied()
    assert [name for name, _ in net.named_parameters()] == [
        "encoder.weight",
        "encoder.bias",
        "decoder.bias",
    ]
    assert [name for name, _ in net.named_parameters(remove_duplicate=False)] == [
        "encoder.weight",
        "encoder.bias",
        "decoder.weight",
        "decoder.bias",
        "again.weight",
        "again.bias",
    ]
    assert [name for name, _ in net.named_modules()] == ["", "encoder", "decoder"]
    assert [name for name, _ in net.named_children()] == ["encoder", "decoder"]
    assert "again" in dict(net.named_modules(remove_duplicate=False))


def test_apply_goes_from_the_leaves_to_the_root():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


def test_lookup_by_dotted_name():
    net = nn.Sequential(Net())
    assert net.get_submodule("0.first") is net[0].first
    assert net.get_submodule("") is net
    assert net.get_parameter("0.first.weight") is net[0].first.weight
    assert net.get_buffer("0.count") is net[0].count
    with pytest.raises(AttributeError, match="Sequential has no attribute `1`"):
        net.get_submodule("1.first")
    with pytest.raises(AttributeError, match="`scale` is not an nn.Module"):
        net.get_submodule("0.scale")
    with pytest.raises(AttributeError, match="`count` is not an nn.Parameter"):
        net.get_parameter("0.count")
    with pytest.raises(AttributeError, match="`scale` is not a buffer"):
        net.get_buffer("0.scale")


def test_set_submodule():
    net = nn.Sequential(Net())
    net.set_submodule("0.first", nn.Identity())
    assert type(net[0].first) is nn.Identity
    with pytest.raises(AttributeError, match="has no attribute `third`"):
        net.set_submodule("0.third", nn.ReLU(), strict=True)
    with pytest.raises(ValueError, match="without a target name"):
        net.set_submodule("", nn.ReLU())


def test_repr():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Dropout(0.1)))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Dropout(p=0.1, inplace=False)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Module()) == "Module()"


def test_training_mode_reaches_all():
    net = nn.Sequential(Net())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train("yes")


def test_gradients_on_off_and_forgotten():
    net = Net().requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(dynjax.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.item() == 0.0
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda net: net.double(), "float64"),
        (lambda net: net.half(), "float16"),
        (lambda net: net.bfloat16(), "bfloat16"),
        (lambda net: net.to(dynjax.float64), "float64"),
        (lambda net: net.to("cpu", dynjax.float64), "float64"),
        (lambda net: net.to(dtype=dynjax.float16), "float16"),
        (lambda net: net.to(dynjax.ones(1, dtype=dynjax.float64)), "float64"),
        (lambda net: net.double().float(), "float32"),
        (lambda net: net.to("cpu"), "float32"),
        (lambda net: net.cpu(), "float32"),
    ],
)
def test_conversion_keeps_the_parameters_themselves(convert, dtype):
    net = Net()
    net.register_buffer("steps", dynjax.tensor(3))
    scale = net.scale
    net(dynjax.ones(1, 2)).sum().backward()
    assert convert(net) is net
    dtype = getattr(dynjax, dtype)
    assert net.scale is scale and scale.requires_grad and scale.is_leaf
    assert all(p.dtype == dtype and p.grad.dtype == dtype for p in net.parameters())
    assert net.count.dtype == dtype and net.steps.dtype == dynjax.int64


def test_conversion_refuses():
    net = Net()
    with pytest.raises(TypeError, match="only accepts floating point or complex dtypes"):
        net.to(dynjax.int32)
    with pytest.raises(RuntimeError, match="does not accept copy argument"):
        net.to("cpu", copy=True)
    with pytest.raises(TypeError, match="invalid combination of arguments - got"):
        net.to("cpu", 3)
    with pytest.raises(TypeError, match="invalid combination of arguments - got"):
        net.to(bogus=3)
    with pytest.raises(RuntimeError, match="share_memory.. is not supported"):
        net.share_memory()
    assert net.scale.dtype == dynjax.float32


def test_deepcopy_and_pickle_are_independent_and_keep_ties():
    net = Tied().eval()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(twin) is Tied and not twin.training
        assert twin.decoder.weight is twin.encoder.weight
        assert twin.again is twin.encoder
        assert twin.encoder.weight is not net.encoder.weight
        assert dynjax.equal(twin.encoder.weight, net.encoder.weight)
        with dynjax.no_grad():
            twin.encoder.weight.zero_()
        assert not dynjax.equal(twin.encoder.weight, net.encoder.weight)


def test_old_pickles_without_newer_fields_load():
    module = nn.ReLU.__new__(nn.ReLU)
    old = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_forward_hooks": {}}
    module.__setstate__({**old, "_backward_hooks": {}, "inplace": False, "training": True})
    assert module(dynjax.ones(1)).item() == 1.0


def test_dir_lists_members():
    names = dir(nn.Sequential(nn.ReLU()))
    assert "training" in names and "forward" in names and "0" not in names
    assert {"scale", "first", "count"} <= set(dir(Net()))


def test_constructor_refuses_arguments():
    class Plain(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"Plain.__init__\(\) takes 1 positional argument but 2"):
        Plain(3)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'size'"):
        Plain(size=3)
    with pytest.raises(NotImplementedError, match='Module .Plain. is missing the required "forw'):
        Plain()(3)


def test_call_super_init_reaches_the_next_class():
    class Mixin:
        def __init__(self, value):
            self.value = value

    class Both(nn.Module, Mixin):
        call_super_init = True

    assert Both(3).value == 3


class Watch(nn.Module):
    """Tells which modules were running when it ran."""

    def forward(self, seen):
        seen.append([type(module).__name__ for module in state.modules])
        return seen


def test_running_modules_are_on_the_stack():
    assert nn.Sequential(Watch(), nn.Sequential(Watch()))([]) == [
        ["Sequential", "Watch"],
        ["Sequential", "Sequential", "Watch"],
    ]
    assert state.modules == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("hooked", [False, True])
def test_the_stack_is_right_after_an_error(error, hooked):
    class Broken(nn.Module):
        def forward(self, x):
            raise error

    net = nn.Sequential(nn.Identity(), nn.Sequential(Broken()))
    if hooked:
        net.register_forward_hook(lambda *args: None)
    with pytest.raises(error):
        net(1)
    assert state.modules == []


def test_threads_have_their_own_stack():
    seen = []
    net = nn.Sequential(Watch())
    thread = threading.Thread(target=lambda: net(seen))

    class Outer(nn.Module):
        def forward(self):
            thread.start()
            thread.join()

    Outer()()
    assert seen == [["Sequential", "Watch"]]


def test_outermost_call_without_gradients_runs_what_it_recorded():
    net = Net()
    with dynjax.no_grad():
        y = net(dynjax.ones(1, 2))
    assert y._v.trace is None
    assert net(dynjax.ones(1, 2))._v.trace is not None


def test_compile_is_accepted():
    net = Net()
    assert net.compile(fullgraph=True) is None
    assert net(dynjax.ones(1, 2)).shape == (1, 1)


def test_forward_may_be_replaced_on_one_instance():
    layer = nn.ReLU()
    layer.forward = lambda x: x + 1
    assert layer(dynjax.tensor(-3.0)).item() == -2.0

"""Helpers around modules: parametrizations, norms of weights, pruning, packing, fusion."""

import pytest

pytest.importorskip("torch")


from tests.parity.scenarios import Scenarios, attempt, check, fill  # noqa: E402

SCENARIOS = Scenarios()


def layer(lib, rows=3, columns=4):
    return fill(lib, lib.nn.Linear(columns, rows))


def batch(lib, *shape):
    count = 1
    for size in shape:
        count *= size
    return (lib.arange(count, dtype=lib.float32) * 0.7).sin().reshape(shape)


@SCENARIOS.add
def parametrized(lib):
    parametrize = lib.nn.utils.parametrize

    class Symmetric(lib.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).T

        def right_inverse(self, x):
            return x.triu()

    class Positive(lib.nn.Module):
        def forward(self, x):
            return x.exp()

    module = layer(lib, 3, 3)
    parametrize.register_parametrization(module, "weight", Symmetric())
    yield type(module).__name__, repr(module), list(module.state_dict()), module.weight
    yield parametrize.is_parametrized(module), parametrize.is_parametrized(module, "bias")
    module(batch(lib, 2, 3)).sum().backward()
    yield module.parametrizations.weight.original.grad
    module.weight = batch(lib, 3, 3)
    yield module.weight, module.parametrizations.weight.original
    with parametrize.cached():
        yield module.weight is module.weight
    yield module.weight is module.weight
    parametrize.register_parametrization(module, "weight", Positive())
    yield module.weight, attempt(setattr, module, "weight", batch(lib, 3, 3))
    yield parametrize.type_before_parametrizations(module).__name__
    parametrize.remove_parametrizations(module, "weight")
    yield type(module).__name__, list(module.state_dict()), module.weight
    parametrize.register_parametrization(module, "weight", Positive())
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    yield module.weight


@SCENARIOS.add
def wrong_parametrizations(lib):
    parametrize = lib.nn.utils.parametrize

    def made(forward, inverse=None):
        class Made(lib.nn.Module):
            def __init__(self):
                super().__init__()
                if inverse is not None:
                    self.right_inverse = inverse

            def forward(self, *x):
                return forward(*x)

        return Made()

    def register(*args, **kwargs):
        return attempt(
            lambda: (
                type(
                    parametrize.register_parametrization(
                        layer(lib), "weight", made(*args), **kwargs
                    )
                ).__name__
            )
        )

    yield register(lambda x: 3)
    yield register(lambda x: x.double())
    yield register(lambda x: x[:1])
    yield register(lambda x: x[:1], unsafe=True)
    yield register(lambda x: x, lambda x: 3)
    yield register(lambda x: x, lambda x: x.double())
    yield register(lambda a, b: a, lambda x: (x, 3))
    yield register(lambda a, b: a + b, lambda x: (x, x))
    yield attempt(parametrize.remove_parametrizations, layer(lib), "weight")
    yield attempt(parametrize.register_parametrization, layer(lib), "other", made(lambda x: x))
    yield attempt(parametrize.ParametrizationList, [], lib.ones(1))


@SCENARIOS.add
def norms_of_weights(lib):
    utils, x = lib.nn.utils, batch(lib, 2, 4)
    for dim in (0, 1, None):
        module = utils.parametrizations.weight_norm(layer(lib), dim=dim)
        module(x).square().sum().backward()
        yield list(module.state_dict()), module.weight, repr(module)
        yield [p.grad for p in module.parameters()]
        old = utils.weight_norm(layer(lib), dim=dim)
        old(x).square().sum().backward()
        yield list(old.state_dict()), old.weight, [p.grad for p in old.parameters()]
        state = {key: value * 2 for key, value in old.state_dict().items()}
        yield str(module.load_state_dict(state)), module.weight
        yield attempt(utils.weight_norm, old), list(utils.remove_weight_norm(old).state_dict())
    yield attempt(utils.remove_weight_norm, layer(lib))


@SCENARIOS.add
def spectral(lib):
    utils, x = lib.nn.utils, batch(lib, 2, 4)
    module = utils.parametrizations.spectral_norm(layer(lib))
    module.eval()
    old = utils.spectral_norm(layer(lib))
    yield sorted(module.state_dict()), sorted(old.state_dict()), repr(module)
    for _ in range(40):
        old(x)
    top = lib.linalg.svdvals(old.weight.detach())[0]
    yield top, old(x)
    with lib.no_grad():
        for _ in range(2):
            module.train()(x)
    for _ in range(40):
        module(x)
    yield lib.linalg.svdvals(module.weight.detach())[0], module(x)
    module(x).sum().backward()
    yield module.parametrizations.weight.original.grad
    yield list(utils.remove_spectral_norm(old).state_dict()), old.weight
    yield attempt(utils.remove_spectral_norm, old)
    yield attempt(utils.spectral_norm, layer(lib), n_power_iterations=0)
    yield attempt(utils.parametrizations.spectral_norm, layer(lib), dim=5)
    yield attempt(utils.parametrizations.spectral_norm, layer(lib), n_power_iterations=0)
    conv = utils.spectral_norm(lib.nn.ConvTranspose1d(2, 3, 2))
    yield [tuple(b.shape) for b in conv.buffers()]


@SCENARIOS.add
def orthogonal(lib):
    register = lib.nn.utils.parametrizations.orthogonal
    for shape in ((3, 3), (4, 3), (3, 4)):
        for kind in (None, "matrix_exp", "cayley", "householder"):
            for trivialized in (True, False):
                linear = layer(lib, *shape)
                linear = linear.double()
                linear.weight.data = (batch(lib, *shape) * 2).exp().double()  # of full rank
                module = register(linear, orthogonal_map=kind, use_trivialization=trivialized)
                w = module.weight
                near = w.mT @ w if shape[0] >= shape[1] else w @ w.mT
                yield near.detach(), sorted(module.state_dict())
                if shape[0] == shape[1] or not trivialized:  # else the base is drawn at random
                    yield w
                    module(batch(lib, 2, shape[1]).double()).square().sum().backward()
                    yield module.parametrizations.weight.original.grad
    yield attempt(register, layer(lib), "bias"), attempt(register, layer(lib), "other")
    yield attempt(register, layer(lib), orthogonal_map="x")


@SCENARIOS.add
def pruning(lib):
    prune = lib.nn.utils.prune
    module = layer(lib)
    prune.l1_unstructured(module, "weight", amount=0.3)
    yield list(module.state_dict()), module.weight, prune.is_pruned(module)
    prune.ln_structured(module, "weight", amount=1, n=2, dim=0)
    yield module.weight, module.weight_mask, len(next(iter(module._forward_pre_hooks.values())))
    module(batch(lib, 2, 4)).sum().backward()
    yield module.weight_orig.grad
    prune.remove(module, "weight")
    yield list(module.state_dict()), module.weight, prune.is_pruned(module)
    yield attempt(prune.remove, layer(lib), "weight")
    for amount in (0, 2, 0.5, 1.0):
        for method in (prune.random_unstructured, prune.l1_unstructured):
            yield float(method(layer(lib), "weight", amount).weight_mask.sum())
        yield float(prune.random_structured(layer(lib), "weight", amount, 1).weight_mask.sum())
    for amount in (-1, 1.5, "a", 99):
        yield attempt(prune.l1_unstructured, layer(lib), "weight", amount)
    yield attempt(prune.ln_structured, layer(lib), "bias", 1, 2, 0)
    yield attempt(prune.random_structured, layer(lib), "weight", 1, 3)
    mask = (batch(lib, 3, 4) > 0).float()
    yield prune.custom_from_mask(layer(lib), "weight", mask).weight
    yield attempt(prune.custom_from_mask, layer(lib), "weight", mask[:1])
    both = [(layer(lib), "weight"), (layer(lib, 2, 2), "weight")]
    prune.global_unstructured(both, prune.L1Unstructured, amount=5)
    yield [m.weight for m, _ in both], list(prune.identity(layer(lib), "bias").state_dict())
    yield attempt(prune.global_unstructured, both, prune.LnStructured, amount=1, n=2)
    yield prune.L1Unstructured(2).prune(lib.tensor([3.0, 1.0, 2.0]))
    scores = lib.tensor([[1.0, 2.0, 3.0, 4.0]] * 3)
    yield prune.l1_unstructured(layer(lib), "weight", 3, importance_scores=scores).weight


@SCENARIOS.add
def packing(lib):
    rnn, x = lib.nn.utils.rnn, batch(lib, 3, 2, 2)
    for options in ({}, {"batch_first": True}, {"enforce_sorted": False}):
        first = [3, 2] if options.get("enforce_sorted", True) else [1, 3]
        lengths = [2, 2, 1] if options.get("batch_first") else first
        packed = rnn.pack_padded_sequence(x, lengths, **options)
        yield repr(packed), packed.data
        front = options.get("batch_first", False)
        yield rnn.pad_packed_sequence(packed, front, padding_value=-1.0, total_length=4)
        yield rnn.unpack_sequence(packed)
    sequences = [batch(lib, size, 2) for size in (1, 3, 2)]
    for front in (True, False):
        for side in ("left", "right"):
            yield rnn.pad_sequence(sequences, front, 9.0, side)
    lengths = lib.tensor([1, 3, 2])
    yield rnn.unpad_sequence(rnn.pad_sequence(sequences, True), lengths, True)
    yield repr(rnn.pack_sequence(sequences, enforce_sorted=False))
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    yield repr(packed.double()), packed.to(lib.float32) is packed, packed.is_cuda
    for call in (
        lambda: rnn.pad_sequence([]),
        lambda: rnn.pad_sequence(sequences, padding_side="up"),
        lambda: rnn.pad_packed_sequence(packed, total_length=2),
        lambda: rnn.PackedSequence(lib.ones(2)),
        lambda: rnn.pad_sequence(3),
    ):
        yield attempt(call)
    for call in (
        lambda: rnn.pack_sequence(sequences),
        lambda: rnn.pack_padded_sequence(x, [3, 0]),
        lambda: rnn.pack_padded_sequence(x, [3]),
        lambda: rnn.pad_sequence([lib.ones(2, 3), lib.ones(1, 4)]),
    ):
        yield attempt(call).split(":")[0]


@SCENARIOS.add
def recurrent_layers_on_packed_sequences(lib):
    rnn = lib.nn.utils.rnn
    sequences = [batch(lib, size, 3).requires_grad_() for size in (2, 4, 1)]
    for name, options in (
        ("LSTM", {"bidirectional": True, "num_layers": 2}),
        ("LSTM", {"proj_size": 2, "bidirectional": True}),
        ("GRU", {"bidirectional": True}),
        ("RNN", {"bias": False}),
    ):
        module = fill(lib, getattr(lib.nn, name)(3, 4, **options))
        packed, last = module(rnn.pack_sequence(sequences, enforce_sorted=False))
        yield repr(packed.batch_sizes), packed.data, last
        total = packed.data.square().sum()
        (total + (last[1] if name == "LSTM" else last).sum()).backward()
        yield [p.grad for p in module.parameters()], [s.grad for s in sequences]
        for s in sequences:
            s.grad = None


@SCENARIOS.add
def fused(lib):
    utils, nn = lib.nn.utils, lib.nn
    for conv in (nn.Conv2d(2, 4, 2), nn.Conv2d(2, 4, 2, bias=False)):
        conv, norm = fill(lib, conv).eval(), fill(lib, nn.BatchNorm2d(4)).eval()
        norm.running_mean.add_(batch(lib, 4))
        x = batch(lib, 1, 2, 3, 3)
        made = utils.fuse_conv_bn_eval(conv, norm)
        yield made(x), norm(conv(x)), made.weight.requires_grad, made.bias.requires_grad
    norm = fill(lib, nn.BatchNorm1d(3)).eval()
    made = utils.fuse_linear_bn_eval(layer(lib).eval(), norm)
    yield made(batch(lib, 2, 4)), repr(made)
    yield attempt(utils.fuse_linear_bn_eval, layer(lib).eval(), nn.BatchNorm1d(5).eval()).split()[0]
    yield attempt(utils.fuse_linear_bn_eval, layer(lib), norm)
    yield repr(utils.skip_init(nn.Linear, 2, 3)), attempt(utils.skip_init, nn.ReLU)


@SCENARIOS.add
def stateless_calls(lib):
    call = lib.nn.utils.stateless.functional_call
    module, x = lib.nn.Sequential(layer(lib), lib.nn.BatchNorm1d(3)), batch(lib, 2, 4)
    own = module[0].weight
    weight = batch(lib, 3, 4).requires_grad_()
    given = {"0.weight": weight, "1.running_mean": lib.ones(3)}
    yield call(module, given, (x,)), given["1.running_mean"], module[1].running_mean
    call(module, {"0.weight": weight}, x).square().sum().backward()
    yield weight.grad, module[0].weight is own, own.grad is None
    yield attempt(call, module, {"0.weight": weight}, x, strict=True)
    yield call(module.eval(), {"0.other": weight}, x)
    module.tied = module[0]
    yield attempt(call, module, {"0.weight": weight, "tied.weight": own}, x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    check(run)

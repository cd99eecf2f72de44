"""Layers that PyTorch's database of modules lacks."""

import pytest

torch = pytest.importorskip("torch")

from tests.parity.scenarios import Scenarios, attempt, check, fill  # noqa: E402

SCENARIOS = Scenarios()


def wave(lib, *shape):
    count = 1
    for size in shape:
        count *= size
    return (lib.arange(count, dtype=lib.float32) * 0.7).sin().reshape(shape)


@SCENARIOS.add
def bags_of_embeddings(lib):
    nn, rows = lib.nn, lib.tensor([[1, 2, 1], [4, 0, 4]])
    flat, offsets = lib.tensor([1, 2, 4, 5, 4, 3]), lib.tensor([0, 2, 2, 5])
    for mode in ("sum", "mean", "max"):
        for options in ({}, {"padding_idx": 4}, {"max_norm": 1.0}):
            bag = fill(lib, nn.EmbeddingBag(6, 3, mode=mode, **options))
            for given in ((rows,), (flat, offsets)):
                result = bag(*given)
                result.square().sum().backward()
                yield repr(bag), result, bag.weight.grad, bag.weight
        bag = fill(lib, nn.EmbeddingBag(6, 3, mode=mode, include_last_offset=True))
        yield bag(flat, lib.tensor([0, 2, 6]))
    bag = fill(lib, nn.EmbeddingBag(6, 3, mode="sum"))
    factors = wave(lib, 2, 3).requires_grad_()
    bag(rows, per_sample_weights=factors).square().sum().backward()
    yield factors.grad, bag.weight.grad
    yield repr(nn.EmbeddingBag(6, 3, scale_grad_by_freq=True))
    made = nn.EmbeddingBag.from_pretrained(wave(lib, 4, 2), mode="max")
    yield repr(made), made(lib.tensor([[3, 0]])), made.weight.requires_grad
    yield attempt(bag, flat), attempt(bag, rows.reshape(1, 2, 3))
    yield attempt(nn.EmbeddingBag, 6, 3, padding_idx=6)
    yield attempt(nn.EmbeddingBag, 6, 3, _weight=lib.ones(2, 2))
    yield attempt(nn.EmbeddingBag.from_pretrained, lib.ones(2))
    yield attempt(nn.EmbeddingBag(6, 3), rows, per_sample_weights=factors)


@SCENARIOS.add
def adaptive_softmax(lib):
    layer = fill(lib, lib.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], 2.0, head_bias=True))
    x, target = wave(lib, 5, 8).requires_grad_(), lib.tensor([0, 11, 3, 6, 7])
    result = layer(x, target)
    result.loss.backward()
    yield repr(layer), list(layer.state_dict()), type(result).__name__, list(result), x.grad
    yield [p.grad for p in layer.parameters()], layer.log_prob(x), layer.predict(x)
    yield list(layer(x[0], target[1])), layer.cutoffs, layer.head_size, layer.n_clusters
    yield attempt(lib.nn.AdaptiveLogSoftmaxWithLoss, 8, 12, [])
    for bad in (target[:2], target[0], lib.ones(5, 1)):
        yield attempt(layer, x, bad).split(":")[0]


@SCENARIOS.add
def norms(lib):
    nn, x = lib.nn, wave(lib, 2, 5, 3, 2)
    for size in (1, 2, 3, 4, 5, 7):
        layer = nn.CrossMapLRN2d(size, 0.5, 0.75, 2.0)
        yield repr(layer), layer(x)  # PyTorch's backward is that of another function, or fails
    sync = nn.SyncBatchNorm(5)
    yield sync(x), repr(sync), list(sync.state_dict()), attempt(sync, lib.ones(3))
    net = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(5)))
    yield repr(net), list(net.state_dict())
    for layer in (nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)):
        yield attempt(layer, x) if layer.affine else repr(layer), attempt(layer, lib.ones(2))


@SCENARIOS.add
def lazy_layers(lib):
    nn = lib.nn
    for layer, shape in (
        (nn.LazyLinear(3), (2, 4)),
        (nn.LazyConv1d(4, 2, stride=2, bias=False), (3, 6)),
        (nn.LazyConvTranspose2d(4, 2, 1, 0, 0, 2), (1, 2, 3, 3)),
        (nn.LazyBatchNorm2d(affine=False), (2, 3, 2, 2)),
        (nn.LazyBatchNorm1d(track_running_stats=False), (2, 3)),
        (nn.LazyInstanceNorm3d(1e-3, None), (1, 2, 2, 2, 2)),
    ):
        yield repr(layer), list(layer.state_dict()), repr(list(layer.parameters()))
        layer(lib.ones(shape))
        yield repr(layer), [(k, tuple(v.shape)) for k, v in layer.state_dict().items()]
    yield attempt(nn.LazyConv2d(4, 2), lib.ones(2))
    yield attempt(lambda: nn.LazyLinear(2).weight.shape).split(".")[0]


@SCENARIOS.add
def transformers(lib):
    nn = lib.nn
    model = nn.Transformer(4, 2, 1, 2, 8, norm_first=True, batch_first=True)
    yield repr(model), list(model.state_dict())
    yield nn.Transformer.generate_square_subsequent_mask(3)
    yield attempt(nn.TransformerEncoderLayer, 4, 2, activation="x")
    yield attempt(model, lib.ones(2, 3, 4), lib.ones(1, 3, 4)).split(",")[0]
    model = fill(lib, nn.TransformerEncoderLayer(4, 2, 8, 0.0, "gelu")).eval()
    x, mask = wave(lib, 3, 2, 4), nn.Transformer.generate_square_subsequent_mask(3)
    yield model(x, mask, is_causal=True), model(x, mask)
    stack = nn.TransformerEncoder(model, 2, enable_nested_tensor=False)
    yield stack(x, mask, is_causal=True), stack(x, mask), repr(stack)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    check(run)

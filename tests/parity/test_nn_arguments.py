"""Layers and initialisers built badly, and the clipping of gradients."""

import itertools

import pytest

pytest.importorskip("torch")

from tests.parity.scenarios import Scenarios, attempt, check, warned  # noqa: E402

SCENARIOS = Scenarios()


@SCENARIOS.add
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


@SCENARIOS.add
def products_of_types_that_differ(lib):
    linear = lib.nn.functional.linear
    shapes = {
        linear: ((2, 3), (4, 3), (4,)), lib.addmm: ((2, 4), (2, 3), (3, 4)),
        lib.addmv: ((2,), (2, 3), (3,)), lib.addr: ((2, 3), (2,), (3,)),
        lib.addbmm: ((2, 4), (5, 2, 3), (5, 3, 4)), lib.baddbmm: ((5, 2, 4), (5, 2, 3), (5, 3, 4)),
    }  # fmt: skip
    for dtypes in itertools.product((lib.float32, lib.float64, lib.int64), repeat=3):
        for fn, sizes in shapes.items():
            given = [lib.ones(s, dtype=d) for s, d in zip(sizes, dtypes, strict=True)]
            yield attempt(fn, *given)
            if fn is linear:
                yield attempt(fn, given[0][0], *given[1:]), attempt(fn, *given[:2])


@SCENARIOS.add
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
    check(run)

"""The operations that `ops.py` measures: a table of inputs a kind, a table of operations a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Make = Callable[[np.random.Generator, int], np.ndarray]


def normal(*shape: int, grow: tuple[int, ...] = (0,)) -> Make:
    """Standard normal numbers; the axes `grow` are as many times longer as is asked for."""

    def make(rng: np.random.Generator, times: int) -> np.ndarray:
        return rng.standard_normal(_grown(shape, grow, times)).astype(np.float32)

    return make


def whole(high: int, *shape: int, grow: tuple[int, ...] = (0,)) -> Make:
    """Whole numbers from 0 to `high`, exclusive."""
    return lambda rng, times: rng.integers(0, high, _grown(shape, grow, times))


def order(size: int) -> Make:
    """A permutation."""
    return lambda rng, times: rng.permutation(size * times)


def positive(size: int) -> Make:
    """A positive definite matrix."""

    def make(rng: np.random.Generator, times: int) -> np.ndarray:
        a = rng.standard_normal((size * times, size * times))
        return (a @ a.T / len(a) + np.eye(len(a))).astype(np.float32)

    return make


def _grown(shape: tuple[int, ...], grow: tuple[int, ...], times: int) -> tuple[int, ...]:
    return tuple(n * times if axis in grow else n for axis, n in enumerate(shape))


# kind -> how many times larger the large size is, and the inputs at the small one
KINDS: dict[str, tuple[int, tuple[Make, ...]]] = {
    "one": (256, (normal(16, 256),)),
    "two": (256, (normal(16, 256), normal(16, 256))),
    "whole": (256, (whole(100, 4096),)),
    "rows": (64, (normal(16, 256),)),
    "pick": (64, (normal(16, 256), whole(16, 16, 256))),
    "lines": (64, (normal(16, 256), order(16), normal(16, 256))),
    "search": (64, (normal(4096), normal(4096))),
    "square": (16, (normal(16, 16, grow=(0, 1)),)),
    "positive": (16, (positive(16),)),
    "solve": (16, (positive(16), normal(16, 4))),
    "product": (32, (normal(16, 16, grow=(0, 1)), normal(16, 16, grow=(0, 1)))),
    "batch": (8, (normal(4, 16, 16, grow=(0, 1, 2)), normal(4, 16, 16, grow=(0, 1, 2)))),
    "conv1d": (16, (normal(2, 8, 64), normal(16, 8, 3, grow=()))),
    "conv2d": (16, (normal(2, 8, 32, 32), normal(16, 8, 3, 3, grow=()))),
    "conv3d": (8, (normal(1, 4, 12, 12, 12), normal(8, 4, 3, 3, 3, grow=()))),
    "back1d": (16, (normal(2, 8, 64), normal(8, 16, 3, grow=()))),
    "back2d": (16, (normal(2, 8, 32, 32), normal(8, 16, 3, 3, grow=()))),
    "back3d": (8, (normal(1, 4, 12, 12, 12), normal(4, 8, 3, 3, 3, grow=()))),
    "signal": (32, (normal(2, 8, 64),)),
    "image": (32, (normal(1, 8, 32, 32),)),
    "sampled": (32, (normal(1, 8, 32, 32), normal(1, 32, 32, 2))),
    "unfolded": (32, (normal(1, 72, 900),)),
    "labelled": (64, (normal(16, 100), whole(100, 16))),
    "table": (64, (whole(1000, 256), normal(1000, 64, grow=()))),
    "points": (8, (normal(32, 16), normal(32, 16))),
    "heads": (8, tuple(normal(1, 4, 32, 32, grow=(2,)) for _ in range(3))),
}

Call = Callable[..., Any]


def operations(torch: Any) -> dict[str, dict[str, Call]]:
    """Kind -> name -> the operation of `torch`, PyTorch or dynjax, on inputs of that kind."""
    f, linalg, fft = torch.nn.functional, torch.linalg, torch.fft
    plain = {
        "one": "exp sin tanh sigmoid erf abs sum mean var std amax prod norm argmax all "
        "isnan sign round digamma lgamma expm1 clone",
        "two": "add mul div pow maximum atan2 fmod hypot lt",
        "square": "det inverse matrix_exp",
        "product": "matmul",
        "batch": "bmm",
    }
    nn = {
        "one": "relu gelu silu softplus elu leaky_relu hardswish mish logsigmoid",
        "two": "mse_loss l1_loss smooth_l1_loss huber_loss",
        "labelled": "cross_entropy multi_margin_loss",
        "conv1d": "conv1d",
        "conv2d": "conv2d",
        "conv3d": "conv3d",
        "back1d": "conv_transpose1d",
        "back2d": "conv_transpose2d",
        "back3d": "conv_transpose3d",
        "table": "embedding",
        "heads": "scaled_dot_product_attention",
    }
    found: dict[str, dict[str, Call]] = {
        kind: {name: getattr(torch, name) for name in names.split()}
        for kind, names in plain.items()
    }
    for kind, names in nn.items():
        found.setdefault(kind, {}).update({name: getattr(f, name) for name in names.split()})
    rest: dict[str, dict[str, Call]] = {
        "one": {
            "where": lambda x: torch.where(x > 0, x, 0.0),
            "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
            "masked_select": lambda x: x.masked_select(x > 0),
            "nonzero": lambda x: (x > 0).nonzero(),
            "clamp": lambda x: x.clamp(-1, 1),
            "histc": lambda x: torch.histc(x, 100, -3, 3),
            "transpose": lambda x: x.t().contiguous(),
            "dropout": f.dropout,
            "rand_like": torch.rand_like,
            "randn_like": torch.randn_like,
            "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.3)),
            "randperm": lambda x: torch.randperm(x.numel() // 4),
        },
        "two": {
            "cat": lambda x, y: torch.cat([x, y]),
            "stack": lambda x, y: torch.stack([x, y]),
            "binary_cross_entropy_with_logits": lambda x, y: f.binary_cross_entropy_with_logits(
                x, y.sigmoid()
            ),
            "kl_div": lambda x, y: f.kl_div(x, y, log_target=True),
        },
        "whole": {
            "bincount": torch.bincount,
            "unique": torch.unique,
            "one_hot": lambda x: f.one_hot(x, 100),
        },
        "rows": {
            "sum of rows": lambda x: x.sum(1),
            "sum of columns": lambda x: x.sum(0),
            "cumsum": lambda x: x.cumsum(1),
            "cumprod": lambda x: x.cumprod(1),
            "cummax": lambda x: x.cummax(1)[0],
            "logcumsumexp": lambda x: x.logcumsumexp(1),
            "sort": lambda x: x.sort(1)[0],
            "argsort": lambda x: x.argsort(1),
            "topk": lambda x: x.topk(5, 1)[0],
            "median": lambda x: x.median(1)[0],
            "kthvalue": lambda x: x.kthvalue(9, 1)[0],
            "quantile": lambda x: x.quantile(0.3, 1),
            "mode": lambda x: x.round().mode(1)[0],
            "roll": lambda x: x.roll(7, 1),
            "flip": lambda x: x.flip(1),
            "pad": lambda x: f.pad(x, (3, 3)),
            "tril": torch.tril,
            "softmax": lambda x: x.softmax(1),
            "log_softmax": lambda x: x.log_softmax(1),
            "layer_norm": lambda x: f.layer_norm(x, (256,)),
            "rms_norm": lambda x: f.rms_norm(x, (256,)),
            "normalize": f.normalize,
            "glu": f.glu,
            "multinomial": lambda x: x.detach().softmax(1).multinomial(8),
            "repeat_interleave": lambda x: x.repeat_interleave(2, 0),
            "logsumexp": lambda x: x.logsumexp(1),
            "diff": torch.diff,
        },
        "pick": {
            "gather": lambda x, i: x.gather(0, i),
            "scatter": lambda x, i: x.scatter(0, i, x),
            "scatter_add": lambda x, i: x.scatter_add(0, i, x),
            "scatter_reduce amax": lambda x, i: x.scatter_reduce(0, i, x, "amax"),
            "take_along_dim": lambda x, i: x.take_along_dim(i, 0),
        },
        "lines": {
            "index_select": lambda x, i, y: x.index_select(0, i),
            "index_add": lambda x, i, y: x.index_add(0, i, y),
            "index_copy": lambda x, i, y: x.index_copy(0, i, y),
            "index_put": lambda x, i, y: x.index_put((i,), y),
            "x[i]": lambda x, i, y: x[i],
        },
        "search": {
            "searchsorted": lambda x, y: torch.searchsorted(x.detach().abs().cumsum(0), y.detach()),
            "isin": lambda x, y: torch.isin(x.detach(), y.detach()),
        },
        "square": {
            "svd": lambda x: linalg.svdvals(x),
            "qr": lambda x: linalg.qr(x)[1],
            "lu": lambda x: linalg.lu_factor(x)[0],
        },
        "positive": {
            "cholesky": linalg.cholesky,
            "eigvalsh": linalg.eigvalsh,
        },
        "solve": {
            "solve": linalg.solve,
            "cholesky_solve": lambda a, b: torch.cholesky_solve(b, a),
            "lstsq": lambda a, b: linalg.lstsq(a, b)[0],
            "solve_triangular": lambda a, b: linalg.solve_triangular(a, b, upper=True),
        },
        "product": {
            "einsum ij,kj->ik": lambda a, b: torch.einsum("ij,kj->ik", a, b),
            "outer": lambda a, b: torch.outer(a[0], b[0]),
        },
        "batch": {"einsum bij,bkj->bik": lambda a, b: torch.einsum("bij,bkj->bik", a, b)},
        "signal": {
            "max_pool1d": lambda x: f.max_pool1d(x, 2),
            "avg_pool1d": lambda x: f.avg_pool1d(x, 2),
            "rfft": lambda x: fft.rfft(x).abs(),
            "fft": lambda x: fft.fft(x).real,
            "interpolate linear": lambda x: f.interpolate(x, scale_factor=2, mode="linear"),
        },
        "image": {
            "max_pool2d": lambda x: f.max_pool2d(x, 2),
            "max_pool2d, overlapping": lambda x: f.max_pool2d(x, 3, 2, 1),
            "avg_pool2d": lambda x: f.avg_pool2d(x, 2),
            "adaptive_avg_pool2d": lambda x: f.adaptive_avg_pool2d(x, 7),
            "adaptive_max_pool2d": lambda x: f.adaptive_max_pool2d(x, 7),
            "lp_pool2d": lambda x: f.lp_pool2d(x, 2, 2),
            "batch_norm": lambda x: f.batch_norm(x, None, None, training=True),
            "instance_norm": f.instance_norm,
            "group_norm": lambda x: f.group_norm(x, 4),
            "local_response_norm": lambda x: f.local_response_norm(x, 3),
            "interpolate nearest": lambda x: f.interpolate(x, scale_factor=2),
            "interpolate bilinear": lambda x: f.interpolate(x, scale_factor=2, mode="bilinear"),
            "interpolate bicubic": lambda x: f.interpolate(x, scale_factor=2, mode="bicubic"),
            "unfold": lambda x: f.unfold(x, 3),
            "pad reflect": lambda x: f.pad(x, (2, 2, 2, 2), "reflect"),
            "pixel_shuffle": lambda x: f.pixel_shuffle(x, 2),
            "fft2": lambda x: fft.fft2(x).real,
            "dropout2d": f.dropout2d,
        },
        "sampled": {"grid_sample": lambda x, y: f.grid_sample(x, y.tanh(), align_corners=False)},
        "unfolded": {"fold": lambda x: f.fold(x, 32, 3)},
        "labelled": {"nll_loss": lambda x, y: f.nll_loss(x.log_softmax(1), y)},
        "points": {"cdist": torch.cdist, "cosine_similarity": torch.cosine_similarity},
    }
    for kind, calls in rest.items():
        found.setdefault(kind, {}).update(calls)
    return found

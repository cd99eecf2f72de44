"""Which operations compute in which type under autocast: PyTorch's lists.

Source: the operations for which PyTorch 2.13 registers kernels under its autocast keys, and what
these give when run; for devices other than the CPU, its list for CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.mixed import Mixed
from ..core.dtypes import bfloat16, dtype, float16, float32
from ..engine.value import Value

LOWER, FLOAT32, WIDEST = "lower", "float32", "widest"

_PRODUCTS = (
    "addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
    "conv_transpose3d einsum linalg_multi_dot linalg_vecdot linear matmul mm prelu tensordot "
    "_attention _attention_dropout _gru_gates _rnn_gates"
)
_LISTS: dict[str, dict[str, str]] = {
    "cpu": {
        LOWER: _PRODUCTS,
        FLOAT32: (
            "adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy "
            "binary_cross_entropy_with_logits cdist cholesky_inverse cholesky_solve "
            "cosine_embedding_loss cross_entropy cross_entropy_of_probabilities ctc_loss fft "
            "fft2 fftn fractional_max_pool geqrf grid_sampler hfft hinge_embedding_loss "
            "huber_loss ifft ifft2 ifftn ihfft irfft irfft2 irfftn kl_div l1_loss "
            "linalg_cholesky_ex linalg_condition linalg_eig linalg_eigh linalg_eigvals "
            "linalg_eigvalsh linalg_householder_product linalg_inv_ex linalg_lstsq linalg_pinv "
            "linalg_qr linalg_rank_of linalg_solve_ex linalg_svd linalg_svdvals lu_solve "
            "margin_ranking_loss max_pool3d max_unpool mse_loss multi_margin_loss "
            "multilabel_margin_loss nll_loss ormqr poisson_nll_loss polar prod qr quantile rfft "
            "rfft2 rfftn smooth_l1_loss soft_margin_loss stft svd trace triangular_solve "
            "triplet_margin_loss view_as_complex"
        ),
        WIDEST: "cat index_copy stack",
    },
    "cuda": {
        LOWER: f"{_PRODUCTS} addmv addr mv _gru_state _lstm_state",
        FLOAT32: (
            "acos asin binary_cross_entropy_with_logits cdist cosh cosine_embedding_loss "
            "cosine_similarity cross_entropy cross_entropy_of_probabilities cumprod cumsum dist "
            "erfinv exp expm1 group_norm hinge_embedding_loss huber_loss kl_div l1_loss "
            "layer_norm linalg_matrix_norm log log10 log1p log2 log_softmax logsumexp "
            "margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss "
            "norm pdist poisson_nll_loss pow_float pow_scalar pow_tensor prod reciprocal renorm "
            "rms_norm rsqrt sinh smooth_l1_loss soft_margin_loss softmax softplus sum tan "
            "triplet_margin_loss vector_norm"
        ),
        WIDEST: "addcdiv addcmul atan2 bilinear cross dot grid_sampler index_put scatter_add vdot",
    },
}
POLICIES = {
    device: {name: policy for policy, names in lists.items() for name in names.split()}
    for device, lists in _LISTS.items()
}
CASTABLE = (float32, float16, bfloat16)


def conversions(name: str, mode: Mixed, values: Sequence[Value]) -> tuple[dtype | None, ...] | None:
    """What an operation's arguments are converted to first.

    Args:
        name: of the operation.
        mode: of the trace.
        values: its array arguments.

    Returns:
        A type, or None for one that stays, for each; None if all stay.
    """
    device = next((v.kind.device.type for v in values), None)
    if device not in mode.dtypes:
        return None
    policy = POLICIES["cpu" if device == "cpu" else "cuda"].get(name)
    if policy is None or (policy == LOWER and len(values) < 2):  # an einsum that is only a sum
        return None
    kinds = [v.kind for v in values]
    eligible = [k.dtype in CASTABLE and k.device.type == device for k in kinds]
    target: Any = mode.dtypes[device]
    if policy == FLOAT32 or (
        policy == WIDEST and any(e and k.dtype is float32 for e, k in zip(eligible, kinds))
    ):
        target = float32
    found = tuple(
        target if e and k.dtype is not target else None
        for e, k in zip(eligible, kinds, strict=True)
    )
    return found if any(found) else None

"""Special functions: SciPy is the reference, derivatives are differences of it."""

import math

import jax
import numpy as np
import pytest
import scipy.special

import dynjax as torch
from tests.ops.common import assert_close, gradient

special = torch.special
REAL = np.concatenate([np.linspace(-12, 12, 97), [-1e3, -40.5, 1e-6, 35.25, 1e3]])
POSITIVE = np.concatenate([np.linspace(0.05, 12, 49), [1e-6, 35.25, 700.0]])
NEAR = np.linspace(-5, 5, 41)

ONE_ARGUMENT = [
    *((n, getattr(scipy.special, n), REAL) for n in ("i0e", "i1e", "ndtr", "log_ndtr", "entr")),
    *((n, getattr(scipy.special, n), NEAR) for n in ("i0", "i1", "erfcx", "gammaln", "expit")),
    ("psi", scipy.special.psi, POSITIVE),
    ("ndtri", scipy.special.ndtri, np.linspace(0.01, 0.99, 33)),
    ("modified_bessel_i0", scipy.special.i0, NEAR),
    ("modified_bessel_i1", scipy.special.i1, NEAR),
    ("bessel_j0", scipy.special.j0, REAL),
    ("bessel_j1", scipy.special.j1, REAL),
    ("bessel_y0", scipy.special.y0, POSITIVE),
    ("bessel_y1", scipy.special.y1, POSITIVE),
    ("modified_bessel_k0", scipy.special.k0, POSITIVE),
    ("modified_bessel_k1", scipy.special.k1, POSITIVE),
    ("scaled_modified_bessel_k0", scipy.special.k0e, POSITIVE),
    ("scaled_modified_bessel_k1", scipy.special.k1e, POSITIVE),
    ("spherical_bessel_j0", lambda x: scipy.special.spherical_jn(0, x), REAL),
    ("airy_ai", lambda x: scipy.special.airy(x)[0], REAL[abs(REAL) < 50]),
]


@pytest.mark.parametrize("name, reference, x", ONE_ARGUMENT, ids=[row[0] for row in ONE_ARGUMENT])
def test_one_argument(name, reference, x):
    assert_close(getattr(special, name)(torch.from_numpy(x)), reference(x), 1e-11, 1e-12)
    x = x.astype(np.float32)
    expected = reference(x.astype(np.float64)).astype(np.float32)
    assert_close(getattr(special, name)(torch.from_numpy(x)), expected, 2e-4, 1e-6)


SLOPES = {
    "i0e": lambda x: scipy.special.i1e(x) - np.sign(x) * scipy.special.i0e(x),
    "i1": lambda x: (scipy.special.i0(x) + scipy.special.iv(2, x)) / 2,
    "ndtr": lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "log_ndtr": lambda x: np.exp(-x * x / 2 - scipy.special.log_ndtr(x)) / math.sqrt(2 * math.pi),
    "erfcx": lambda x: 2 * x * scipy.special.erfcx(x) - 2 / math.sqrt(math.pi),
    "gammaln": scipy.special.psi,
    "psi": lambda x: scipy.special.polygamma(1, x),
}


@pytest.mark.parametrize("name", SLOPES)
def test_derivatives(name):
    x = np.array([0.0, -3.2, -0.5, 0.3, 1.0, 4.5])[2 * (name in ("gammaln", "psi")) :]
    x = np.abs(x) if name == "psi" else x
    leaf = torch.tensor(x, requires_grad=True)
    getattr(special, name)(leaf).sum().backward()
    assert_close(leaf.grad, SLOPES[name](x), 1e-10, 1e-12)


def test_bessel_functions_at_their_limits():
    zero = torch.tensor([0.0])
    assert [special.bessel_y0(zero).item(), special.bessel_y1(zero).item()] == [-math.inf] * 2
    assert [special.modified_bessel_k0(zero).item()] == [math.inf]
    assert special.bessel_y0(-torch.ones(1)).isnan().all()
    assert special.scaled_modified_bessel_k1(torch.tensor([math.inf])).item() == 0
    assert special.airy_ai(torch.tensor([math.inf])).isnan().all()
    assert special.spherical_bessel_j0(torch.tensor([0.0, math.inf])).tolist() == [1.0, 0.0]


def test_what_pytorch_does_not_differentiate_needs_no_gradient():
    x = torch.tensor([0.5], requires_grad=True)
    assert not special.bessel_j0(x).requires_grad and not special.airy_ai(x * 2).requires_grad
    assert not special.hermite_polynomial_h(x, 3).requires_grad


# --- the gamma function's relatives -------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_polygamma(n):
    x = np.array([0.25, 1.0, 3.5, 20.0])
    assert_close(torch.polygamma(n, torch.from_numpy(x)), scipy.special.polygamma(n, x), 1e-12)
    leaf = torch.tensor(x, requires_grad=True)
    leaf.polygamma(n).sum().backward()
    assert_close(leaf.grad, scipy.special.polygamma(n + 1, x), 1e-12)


def test_polygamma_left_of_zero_by_its_recurrence():
    x, right = np.array([-0.3, -2.5, -7.75]), 10
    for n in (1, 2, 3):
        steps = sum((x + k) ** -(n + 1.0) for k in range(right))
        moved = (-1) ** (n + 1) * math.factorial(n) * steps
        expected = scipy.special.polygamma(n, x + right) + moved
        assert_close(torch.polygamma(n, torch.from_numpy(x)), expected, 1e-10)
    assert torch.polygamma(2, torch.tensor([0.0, -1.0])).tolist() == [-math.inf] * 2


def test_multigammaln():
    x = np.array([1.5, 2.0, 7.25])
    for p in (1, 3):
        expected = [scipy.special.multigammaln(a, p) for a in x]
        assert_close(torch.mvlgamma(torch.from_numpy(x), p), expected, 1e-12)


def test_incomplete_gamma():
    a, x = np.array([[0.5], [2.0], [30.0]]), np.array([0.0, 0.3, 2.0, 40.0])
    ta, tx = torch.from_numpy(a), torch.from_numpy(x)
    assert_close(torch.igamma(ta, tx), scipy.special.gammainc(a, x), 1e-11)
    assert_close(special.gammaincc(ta, tx), scipy.special.gammaincc(a, x), 1e-11, 1e-15)
    slope = gradient(lambda t: torch.igamma(torch.tensor(2.0), t), [0.5, 3.0])
    np.testing.assert_allclose(slope, [0.5 * math.exp(-0.5), 3 * math.exp(-3)], 1e-5)


def test_zeta():
    q = np.array([0.5, 1.0, 4.0])
    assert_close(special.zeta(2.5, torch.from_numpy(q)), scipy.special.zeta(2.5, q), 1e-12)
    assert special.zeta(torch.tensor([1.0, 0.5]), 2.0).tolist()[0] == math.inf
    slope = gradient(lambda t: special.zeta(2, t), [1.0])
    np.testing.assert_allclose(slope, [-2 * scipy.special.zeta(3)], 1e-5)


def test_xlog1py_is_zero_where_its_factor_is():
    x, y = torch.tensor([0.0, 0.0, 2.0]), torch.tensor([-1.0, math.nan, 0.5])
    result = special.xlog1py(x, y).tolist()
    assert (
        result[0] == 0 and math.isnan(result[1]) and result[2] == pytest.approx(2 * math.log(1.5))
    )


# --- polynomials --------------------------------------------------------------------------------

POLYNOMIALS = {
    "chebyshev_polynomial_t": scipy.special.eval_chebyt,
    "chebyshev_polynomial_u": scipy.special.eval_chebyu,
    "shifted_chebyshev_polynomial_t": scipy.special.eval_sh_chebyt,
    "shifted_chebyshev_polynomial_u": scipy.special.eval_sh_chebyu,
    "hermite_polynomial_h": scipy.special.eval_hermite,
    "hermite_polynomial_he": scipy.special.eval_hermitenorm,
    "laguerre_polynomial_l": scipy.special.eval_laguerre,
    "legendre_polynomial_p": scipy.special.eval_legendre,
}
DEGREES = np.array([[0], [1], [2], [5], [9], [20]])
POINTS = np.array([-2.5, -1.0, -0.4, 0.0, 0.3, 1.0, 1.75])


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials(name):
    result = getattr(special, name)(torch.from_numpy(POINTS), torch.from_numpy(DEGREES))
    assert_close(result, POLYNOMIALS[name](DEGREES, POINTS), 1e-9, 1e-9)


def test_third_and_fourth_kind_by_angles():
    angle = np.linspace(0.1, 3, 9)
    x = torch.from_numpy(np.cos(angle))
    for n in (0, 3, 12):
        half = (n + 0.5) * angle
        v, w = np.cos(half) / np.cos(angle / 2), np.sin(half) / np.sin(angle / 2)
        assert_close(special.chebyshev_polynomial_v(x, n), v, 1e-9, 1e-9)
        assert_close(special.chebyshev_polynomial_w(x, n), w, 1e-9, 1e-9)
        shifted = special.shifted_chebyshev_polynomial_w((x + 1) / 2, n)
        assert_close(shifted, w, 1e-9, 1e-9)
    ends = torch.tensor([-1.0, 1.0])
    assert special.chebyshev_polynomial_v(ends, 4).tolist() == [9.0, 1.0]
    assert special.chebyshev_polynomial_w(ends, 5).tolist() == [-1.0, 11.0]


def test_degrees_are_cut_to_integers_and_negative_ones_give_zero():
    x = torch.tensor([0.5])
    assert special.legendre_polynomial_p(x, 2.9).tolist() == [-0.125]
    assert special.legendre_polynomial_p(x, -1).tolist() == [0.0]
    assert special.hermite_polynomial_h(x, 200).isnan().all()  # as PyTorch, past degree 128


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: torch.polygamma(-1, x), RuntimeError, "negative n"),
        (lambda x: torch.polygamma(1.5, x), TypeError, "must be int, not float"),
        (lambda x: torch.mvlgamma(x, 0), RuntimeError, "greater than or equal to 1"),
        (lambda x: torch.igamma(x, 2.0), TypeError, "must be Tensor, not float"),
        (lambda x: torch.igamma(x.long(), x.long()), NotImplementedError, "Long"),
        (lambda x: special.i1(x + 0j), NotImplementedError, "ComplexFloat"),
        (lambda x: special.legendre_polynomial_p(x, torch.ones(4)), RuntimeError, r"\(3\).*\(4\)"),
        (lambda x: special.legendre_polynomial_p(2, 3), TypeError, "must be Tensor, not int"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.ones(3))


def test_the_namespace_works_within_jax():
    slope = jax.grad(lambda x: special.i1(torch.as_tensor(x)).__jax_array__())
    found = jax.jit(slope)(0.5)
    assert found == pytest.approx(float(SLOPES["i1"](0.5)), rel=1e-5)

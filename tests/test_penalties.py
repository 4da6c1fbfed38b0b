"""Penalties: values by their formulas, proximal steps by the optimality of what they minimise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from equipoise.penalties import L1, L1L2, L2, GroupL2

FACTORS = np.array([1.0, 0.0, 3.0, np.inf, 0.5, 1.0])
PENALTIES = {
    "L1": L1(0.7),
    "L1 weighted": L1(0.7, weights=FACTORS),
    "L2": L2(0.7),
    "L2 weighted": L2(0.7, weights=FACTORS),
    "L1L2": L1L2(0.7, 0.3),
    "L1L2 weighted": L1L2(0.7, 0.3, weights=FACTORS),
    "L1L2 at 1": L1L2(0.7, 1, weights=FACTORS),
    "L1L2 at 0": L1L2(0.7, 0, weights=FACTORS),
    "GroupL2 lists": GroupL2(0.7, groups=[[4, 0], [1, 2, 5], [3]]),
    "GroupL2 labels": GroupL2(0.7, groups=["a", "b", "b", "a", "c", "b"], weights=[1, 2, np.inf]),
    "GroupL2 axis": GroupL2(0.7),
}
VECTORS = arrays(np.float64, 6, elements=st.floats(-1e6, 1e6, allow_subnormal=False))


def objective(penalty, w, step):
    def value(z):
        cost = penalty.value(z)
        return 0.5 * ((z - w) ** 2).sum() + step * cost if np.isfinite(cost) else np.inf

    return value


@pytest.mark.parametrize("name", PENALTIES)
@settings(max_examples=40, deadline=None)
@given(w=VECTORS, step=st.floats(0, 1e3), seed=st.integers(0, 99))
def test_nothing_near_the_proximal_point_costs_less(name, w, step, seed):
    penalty = PENALTIES[name]
    before = w.copy()
    z = penalty.prox(w, step)
    cost = objective(penalty, w, step)
    rng = np.random.default_rng(seed)
    scale = max(1.0, abs(w).max())
    for size in (1e-7, 1e-3, 1.0):
        for direction in (rng.standard_normal(6), np.eye(6)[rng.integers(6)], w, z):
            other = z + size * direction
            # rounding of the objective itself
            assert cost(z) <= cost(other) + 1e-13 * scale * scale * (1 + step)
    assert np.array_equal(w, before)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_proximal_point_solves_the_subgradient_equation(name):
    # p(z) + q(u) has its minimum where u = w - z lies in step times the subgradient at z:
    # checked by convexity, step P(v) >= step P(z) + <w - z, v - z> for all v
    penalty, step = PENALTIES[name], 0.9
    rng = np.random.default_rng(0)
    for _ in range(50):
        w = rng.standard_normal(6) * 2
        z = penalty.prox(w, step)
        for v in (rng.standard_normal((20, 6)) * 2, np.zeros((1, 6)), z * 2 * np.ones((1, 6))):
            for one in v:
                left = penalty.value(one)
                assert step * left >= step * penalty.value(z) + (w - z) @ (one - z) - 1e-12


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_tensors_give_what_arrays_give(name, dtype):
    penalty = PENALTIES[name]
    w = torch.linspace(-3, 4, 6, dtype=torch.float64).to(dtype)
    z, value = penalty.prox(w, 0.5), penalty.value(w)
    assert z.dtype == dtype
    assert value.dtype == (dtype if dtype.itemsize > 2 else torch.float32)
    assert np.allclose(
        z.double(), penalty.prox(w.double().numpy(), 0.5), atol=4 * torch.finfo(dtype).eps
    )
    assert float(value) == pytest.approx(float(penalty.value(w.double().numpy())), rel=1e-5)


def test_arrays_keep_their_dtype():
    for penalty in PENALTIES.values():
        for dtype in (np.float16, np.float32, np.float64):
            assert penalty.prox(np.ones(6, dtype), 0.1).dtype == dtype
        assert penalty.prox([1, 2, 3, 4, 5, 6], 0.1).dtype == np.float64


@pytest.mark.parametrize("name", [n for n in PENALTIES if "weighted" not in n and "at" not in n])
def test_values_have_gradients_everywhere(name):
    penalty = GroupL2(0.7, groups=[[4, 0], [1, 2, 5], [3]]) if "labels" in name else PENALTIES[name]
    w = torch.tensor([0.0, 1.0, -2.0, 0.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    penalty.value(w).backward()
    assert w.grad.isfinite().all()
    assert not w.grad[3]
    smooth = torch.tensor([1.0, 1.5, -2.0, 0.7, -0.3, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty.value, smooth)


def test_values_by_their_formulas():
    w = np.array([[3.0, -4.0], [0.0, 0.0], [1.0, 0.0]])
    assert L1(2).value(w) == 16
    assert L2(2).value(w) == 26
    assert L1L2(2, 0.25).value(w) == pytest.approx(0.25 * 16 + 0.75 * 26)
    assert GroupL2(2).value(w) == pytest.approx(2 * np.sqrt(2) * 6)
    assert GroupL2(2, axis=1, weights=[1, 1]).value(w) == pytest.approx(2 * (np.sqrt(10) + 4))
    assert GroupL2(2, axis=-1).value(w) == GroupL2(2, axis=1).value(w)


def test_channels_of_a_layer_become_zero_together():
    conv = torch.nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.weight[1] *= 1e-3
        pruned = GroupL2(0.01).prox(conv.weight, step=1.0)
    assert not pruned[1].any()
    assert pruned[[0, 2, 3]].abs().amin() > 0


def test_cases_that_coincide():
    w = np.random.default_rng(0).standard_normal(6)
    for a, b in [
        (L1L2(0.4, 1), L1(0.4)),
        (L1L2(0.4, 0), L2(0.4)),
        (GroupL2(0.4, groups=range(6)), L1(0.4)),
        (GroupL2(0.4), L1(0.4)),
        (L1(0.4, weights=np.full(6, 2)), L1(0.8)),
    ]:
        assert a.value(w) == pytest.approx(b.value(w))
        assert np.allclose(a.prox(w, 0.7), b.prox(w, 0.7), rtol=1e-14)


def test_proximal_gradient_reaches_scikit_learns_solutions():
    from sklearn.datasets import make_regression
    from sklearn.linear_model import ElasticNet, Lasso, Ridge

    X, y = make_regression(60, 8, noise=5.0, random_state=0)
    n = len(y)
    for penalty, model in [
        (L1(n * 2.0), Lasso(2.0, fit_intercept=False, tol=1e-14)),
        (L1L2(n * 2.0, 0.3), ElasticNet(2.0, l1_ratio=0.3, fit_intercept=False, tol=1e-14)),
        (L2(2.0), Ridge(2.0, fit_intercept=False)),
    ]:
        step, w = 1 / np.linalg.norm(X, 2) ** 2, np.zeros(8)
        for _ in range(3000):
            w = penalty.prox(w - step * X.T @ (X @ w - y), step)
        assert np.allclose(w, model.fit(X, y).coef_, rtol=1e-7, atol=1e-10)


def test_factors_of_zero_and_infinity():
    w = np.full(6, 2.0)
    for name in ("L1 weighted", "L2 weighted", "L1L2 weighted"):
        for step in (0.0, 1.0):
            z = PENALTIES[name].prox(w, step)
            assert (z[1], z[3]) == (2.0, 0.0)
        assert PENALTIES[name].value(w) == np.inf
        assert np.isfinite(PENALTIES[name].value(w * (FACTORS < np.inf)))


def test_nan_stays_visible():
    w = np.array([np.nan, 1.0, 2.0])
    for penalty in (L1(), L2(), L1L2(), GroupL2(groups=[[0, 1], [2]])):
        assert np.isnan(penalty.value(w))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: L1(-1), "alpha must be at least 0; got -1"),
        (lambda: L2(float("nan")), "alpha must be at least 0"),
        (lambda: L1().prox(np.ones(2), -1), "step must be at least 0; got -1"),
        (lambda: L1L2(l1_ratio=1.5), r"l1_ratio must lie in \[0, 1\]; got 1.5"),
        (lambda: L1(weights=[1, -2]), "weights must be at least 0; got a lowest of -2"),
        (lambda: GroupL2(groups=[[0, 1], [1]]), "partition"),
        (lambda: GroupL2(groups=[[0, 2]]), "partition"),
        (lambda: GroupL2(groups=[[0], []]), "partition"),
        (lambda: GroupL2(groups=[0, 1]).value(np.ones(3)), r"w must hold one entry.*\(2,\).*\(3,"),
        (lambda: GroupL2(axis=2).value(np.ones((3, 2))), r"axis must be one of w's"),
    ],
)
def test_errors(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_repr():
    assert repr(L1(0.5)) == "L1(alpha=0.5)"
    assert repr(GroupL2(groups=[[0], [1]])) == "GroupL2(alpha=1.0, groups=[[0], [1]], axis=0)"

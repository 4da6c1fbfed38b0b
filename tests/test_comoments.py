"""CoMoments: cross products against exact arithmetic, merging, targets, weights, errors."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import equipoise as eq
from equipoise.ops.moments import gram as kernel

quick = settings(deadline=None, max_examples=30)

# roundings of 2^-53: of the products, of their sum, of the merges
ROUNDINGS = 64


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def exact(z, weights=None):
    """Give count, means and centred cross products as fractions, from the definition."""
    weights = [Fraction(1)] * len(z) if weights is None else list(map(Fraction, weights.tolist()))
    columns = [[Fraction(float(v)) for v in column] for column in z.T]
    count = sum(weights)
    means = [sum(w * v for w, v in zip(weights, c, strict=True)) / count for c in columns]
    centred = [[v - m for v in c] for c, m in zip(columns, means, strict=True)]
    m2 = [
        [sum(w * a * b for w, a, b in zip(weights, p, q, strict=True)) for q in centred]
        for p in centred
    ]
    return count, means, m2


def assert_exact(c, z, weights=None):
    """Assert that c's statistics of the columns side by side are those of ``z``.

    A cross product is as exact as the two columns are large: relative to sqrt(m2_ii m2_jj).
    """
    count, means, m2 = exact(z, weights)
    parts = [c.m2, c.mean]
    if c.xy is not None:
        xy = np.asarray(c.xy).reshape(len(c.m2), -1)
        yy = np.asarray(c.yy).reshape(xy.shape[1], -1)
        parts = [
            np.block([[np.asarray(c.m2), xy], [xy.T, yy]]),
            np.concatenate([np.asarray(c.mean), np.asarray(c.y_mean).ravel()]),
        ]
    found, mean = parts
    scale = [max(float(m2[i][i]), 0.0) ** 0.5 for i in range(len(m2))]
    assert c.count == pytest.approx(float(count), rel=1e-15)
    for i, m in enumerate(means):
        spread = scale[i] / float(count) ** 0.5
        assert abs(Fraction(float(mean[i])) - m) <= 2**-52 * (abs(float(m)) + 4 * spread) + 1e-320
        for j in range(len(means)):
            gap = abs(Fraction(float(found[i, j])) - m2[i][j])
            assert gap <= ROUNDINGS * 2**-53 * scale[i] * scale[j] + 1e-300, (i, j)


def of(z, **arguments):
    """Summarise the columns of z, the last one as y."""
    return eq.CoMoments.of(z[:, :-1], z[:, -1], **arguments)


values = st.one_of(
    st.floats(-1e100, 1e100).map(lambda v: v if abs(v) > 1e-100 else 0.0),
    st.integers(-9, 9).map(lambda i: 1e8 + i),
)
matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=values)


@quick
@given(matrices)
def test_against_exact_arithmetic(z):
    assert_exact(of(z), z)


@quick
@given(matrices, matrices)
def test_merging_is_the_summary_of_both_in_either_order(a, b):
    assert_exact(of(a) + of(b), np.concatenate([a, b]))
    assert_exact(of(b) + of(a), np.concatenate([a, b]))


@quick
@given(matrices, st.data())
def test_weights_equal_repetition(z, data):
    weights = data.draw(hnp.arrays(np.int64, len(z), elements=st.integers(0, 3)).filter(np.any))
    assert_exact(of(z, weights=weights), np.repeat(z, weights, axis=0))


HARD = {
    "N(1e8, 1)": 1e8 + random((300, 4)),
    "columns of unlike size": random((300, 4)) * [1e-150, 1, 1e100, 1e8],
    "an outlier first": np.concatenate([[[1e8, 0, 0, -1e8]], random((299, 4))]),
    "constant": np.full((300, 4), 0.1),
    "correlated": random((300, 1)) + 1e-3 * random((300, 4)),
    "float32": random((300, 4)).astype(np.float32) + np.float32(1e4),
    "integers": np.random.default_rng(0).integers(-9, 9, (300, 4)),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_columns(name):
    assert_exact(of(HARD[name]), HARD[name])
    assert_exact(sum(of(part) for part in np.array_split(HARD[name], 7)), HARD[name])
    weights = np.random.default_rng(0).random(300)
    assert_exact(of(HARD[name], weights=weights), HARD[name], weights)


def test_several_chunks_against_numpy():
    x = (1e6 + random((30_000, 40))) @ random((40, 40), 1)
    wide = x.astype(np.longdouble)
    expected = np.asarray((wide - wide.mean(0)).T @ (wide - wide.mean(0)), float)
    c = eq.CoMoments.of(x)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.max(abs(c.m2 - expected) / scale) < 1e-13
    assert np.array_equal(c.m2, c.m2.T)
    assert np.allclose(c.covariance(ddof=1), np.cov(x.T), rtol=1e-6)


def test_the_diagonal_is_that_of_moments():
    x = random((500, 5)) + 1e5
    assert np.allclose(np.diag(eq.CoMoments.of(x).m2), eq.Moments.of(x).m2, rtol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (7, 9), (13, 515), (3, 1030)])
def test_sizes_on_both_sides_of_every_tile(shape):
    x = random(shape)
    centred = x - x.mean(0)
    assert np.allclose(eq.CoMoments.of(x).m2, centred.T @ centred, rtol=1e-12, atol=1e-13)


def test_enough_for_ridge():
    x, beta = random((200, 3)) + 5, np.array([1.0, -2.0, 3.0])
    y = x @ beta + 4
    c = eq.CoMoments.of(x, y)
    solved = np.linalg.solve(c.m2, c.xy)
    assert np.allclose(solved, beta)
    assert c.y_mean - c.mean @ solved == pytest.approx(4)
    assert c.yy == pytest.approx(((y - y.mean()) ** 2).sum())


def test_shapes_of_targets():
    x = random((6, 3))
    one, column, two = (eq.CoMoments.of(x, random(s, 1)) for s in ((6,), (6, 1), (6, 2)))
    assert [np.shape(c.xy) for c in (one, column, two)] == [(3,), (3, 1), (3, 2)]
    assert [np.shape(c.yy) for c in (one, column, two)] == [(), (1, 1), (2, 2)]
    assert [np.shape(c.y_mean) for c in (one, column, two)] == [(), (1,), (2,)]
    with pytest.raises(AttributeError, match="no targets"):
        _ = eq.CoMoments.of(x).xy


def test_empty_and_single():
    x, y = random((1, 3)), random((1,))
    one = eq.CoMoments.of(x, y)
    assert np.array_equal(one.mean, x[0])
    assert not one.m2.any()
    assert np.isnan(one.covariance(ddof=1)).all()
    for none in (eq.CoMoments.of(x[:0], y[:0]), eq.CoMoments.empty(3, ())):
        assert none.count == 0
        assert np.isnan(none.mean).all()
        assert none + one == one == one + none
        assert sum([none, none, one]) == one
    assert eq.CoMoments.of(x, y, weights=[0]) == eq.CoMoments.empty(3, ())


def test_rows_of_weight_zero_count_nowhere():
    z = random((5, 3))
    spoiled = np.concatenate([z, [[np.nan, np.inf, 1e300]]])
    assert of(spoiled, weights=[1, 1, 1, 1, 1, 0]) == of(z, weights=np.ones(5))


def test_nan_and_inf_spoil_their_column_only():
    x = random((600, 3))
    x[400, 1] = np.nan
    for value in (np.nan, np.inf):
        x[300, 1] = value
        c = sum(eq.CoMoments.of(part) for part in np.array_split(x, 3))
        assert np.isfinite(c.m2[np.ix_([0, 2], [0, 2])]).all()
        assert not np.isfinite(c.m2[1]).any()
        assert not np.isfinite(c.mean[1])
        assert np.isfinite(c.mean[[0, 2]]).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int32", "bool"])
def test_tensors(dtype):
    z = torch.randint(0, 2, (40, 3)).to(getattr(torch, dtype))
    c = eq.CoMoments.of(z[:, :2], z[:, 2], weights=torch.ones(40))
    assert c.m2.dtype == torch.float64
    assert c.device == torch.device("cpu")
    assert_exact(c, z.double().numpy())
    assert isinstance((c + eq.CoMoments.empty(2, ())).xy, torch.Tensor)
    assert c.to(None) == of(z.double().numpy(), weights=np.ones(40))


def test_the_lines_that_a_gpu_runs():
    from equipoise.ops.moments import comoments

    x, y = torch.from_numpy(1e6 + random((700, 3))), torch.from_numpy(random((700, 1)))
    for weights in (None, torch.arange(700.0).double() % 3):
        states = [comoments.summarize(*v, None) for v in ((x[:300], y[:300]), (x[300:], y[300:]))]
        state = comoments.merge(*states)
        expected = eq.CoMoments.of(x, y)
        if weights is not None:
            state = comoments.summarize(x, y, weights)
            expected = eq.CoMoments.of(x, y, weights=weights)
        assert torch.allclose(state[3][:3, :3], expected.m2, rtol=1e-13)
        assert torch.allclose(state[1][:3], expected.mean, rtol=1e-15)


def test_nothing_can_be_changed_and_everything_travels():
    for c in (of(random((9, 3))), eq.CoMoments.of(torch.randn(9, 2))):
        again = pickle.loads(pickle.dumps(c))
        assert again == c
        assert again.device == c.device
        for name in ("count", "mean", "m2"):
            with pytest.raises(AttributeError):
                setattr(c, name, 0)
        c.m2[:] = 0
        assert c == again
        assert c != eq.CoMoments.of(random((9, 2)))
        assert c != 1
    assert repr(of(random((9, 3)))) == "CoMoments(features=2, targets=(), count=9)"


@pytest.mark.parametrize("shape", [(4000, 7), (3000, 64), (700, 333)])
def test_the_same_bits_at_any_thread_count(shape):
    x, weights = random(shape), np.random.default_rng(0).random(shape[0])
    results, threads = [], torch.get_num_threads()
    try:
        for n in (1, 2, 1, 2):
            torch.set_num_threads(n)
            results.append((eq.CoMoments.of(x), eq.CoMoments.of(x, weights=weights)))
    finally:
        torch.set_num_threads(threads)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: eq.CoMoments(), TypeError, "CoMoments.of"),
        (lambda: eq.CoMoments.of(np.ones(3)), ValueError, r"matrix.*\(3,\).*reshape"),
        (lambda: eq.CoMoments.of(np.ones((3, 2)) * 1j), TypeError, "X must be real"),
        (lambda: eq.CoMoments.of(np.ones((3, 2)), np.ones(2)), ValueError, r"y .*\(2,\).*\(3, 2\)"),
        (lambda: eq.CoMoments.of(np.ones((3, 2)), ["a"] * 3), TypeError, "y must be real"),
        (lambda: eq.CoMoments.of(np.ones((3, 2)), np.ones((3, 1, 1))), ValueError, "rows, targets"),
        (
            lambda: eq.CoMoments.of(np.ones((3, 2)), torch.ones(3, device="meta")),
            ValueError,
            "one device",
        ),
        (
            lambda: eq.CoMoments.of(np.ones((3, 2)), weights=[1, 2]),
            ValueError,
            r"weights must have the shape.*\(3,\)",
        ),
        (lambda: eq.CoMoments.of(np.ones((3, 2)), weights=[1, 1, -1]), ValueError, "not negative"),
        (lambda: eq.CoMoments.empty(2).merge(eq.CoMoments.empty(3)), ValueError, "2 and 3 columns"),
        (lambda: eq.CoMoments.empty(2).merge(eq.CoMoments.empty(2, ())), ValueError, "None: no y"),
        (lambda: eq.CoMoments.empty(2).merge(1), TypeError, "got int"),
        (lambda: eq.CoMoments.empty(2) + 1, TypeError, "unsupported"),
    ],
)
def test_errors_name_the_rule_what_came_and_the_way_out(call, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        call()


def broken_centring(monkeypatch):
    from equipoise.ops.moments import comoments

    # the formula that this package forbids
    def raw(z, count, weights=None):
        mean = z.sum(0) / count
        return mean, mean * 0, z.T @ z - count * np.outer(mean, mean)

    monkeypatch.setattr(comoments, "_centred", raw)


def broken_merge(monkeypatch):
    from equipoise.ops.moments import comoments

    whole = comoments.merge
    monkeypatch.setattr(comoments, "merge", lambda a, b: (*whole(a, b)[:3], a[3] + b[3]))


def broken_products(monkeypatch):

    gram = kernel.gram
    monkeypatch.setattr(kernel, "gram", lambda work, z, w, out: gram(work, z, w * (w == 1), out))


@pytest.mark.parametrize("break_it", [broken_centring, broken_merge, broken_products])
def test_broken_sums_are_caught(break_it, monkeypatch):
    break_it(monkeypatch)
    with pytest.raises(AssertionError):
        test_hard_columns("N(1e8, 1)")

"""The layouts of Moments: every order of axes, views, odd sizes; and what is swept in place."""

import itertools

import numpy as np
import pytest
import torch
from exact import assert_exact

import equipoise as eq
from equipoise.ops.moments import op
from equipoise.ops.moments.layout import PARTS, layout, matrix


def random(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype) * 3 + 50


def subsets(ndim):
    return [s for n in range(ndim + 1) for s in itertools.combinations(range(ndim), n)]


@pytest.mark.parametrize("axes", subsets(4))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_axes_in_all_orders_in_memory(axes, dtype):
    x = random((4, 3, 5, 2), dtype)
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 3, 2)):
        moved = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        assert_exact(eq.Moments.of(moved, axes), x, axes)


VIEWS = {
    "reversed rows": lambda x: x[::-1],
    "reversed columns": lambda x: x[:, ::-1],
    "every other row": lambda x: x[::2],
    "every other column": lambda x: x[:, ::2],
    "some columns": lambda x: x[:, 1:4],
    "some rows": lambda x: x[3:20],
    "one column": lambda x: x[:, 2:3],
    "transposed": lambda x: x.T,
    "a row for all": lambda x: np.broadcast_to(x[:1], x.shape),
    "a column for all": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "sliding windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, axis=0)[..., 0],
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("view", VIEWS)
def test_views(view, axis):
    x = VIEWS[view](random((40, 7)))
    assert_exact(eq.Moments.of(x, axis), x, (axis,))


def test_unequal_strides_and_axes_of_length_one():
    x = random((3, 1, 4, 1, 5))[:, :, ::2]
    for axes in subsets(5):
        assert_exact(eq.Moments.of(x, axes), x, axes)
    x = torch.randn(2, 3, 1, 1).to(memory_format=torch.channels_last)
    assert_exact(eq.Moments.of(x, (0, 2, 3)), x.double().numpy(), (0, 2, 3))


@pytest.mark.parametrize("p", range(1, 71))
def test_every_number_of_columns(p):
    for n in (1, 2, 13):
        x = random((n, p), np.float32)
        assert_exact(eq.Moments.of(x), x)


@pytest.mark.parametrize(
    "shape, axes",
    [
        ((67, 400), (0,)),
        ((9, 1025), (0,)),
        ((9, 2100), (0,)),
        ((1, 3000), (0,)),
        ((3000, 1), (0,)),
        ((4000,), (0,)),
        ((5, 17), (1,)),
        ((5, 1000), (1,)),
        ((3, 2, 700), (0, 2)),
        ((9, 2, 49), (0, 2)),
        ((9, 2, 600), (0, 2)),
        ((3, 2, 16), (0, 2)),
        ((3, 70, 10), (1,)),
    ],
)
def test_sizes_on_both_sides_of_every_threshold(shape, axes):
    x = random(shape, np.float32)
    assert_exact(eq.Moments.of(x, axes), x, axes)


@pytest.mark.parametrize(
    "shape, axes",
    [
        ((150_001, 3), (0,)),
        ((3, 2, 140_000), (0, 2)),
        ((2, 5000, 40), (1,)),
        ((300, 1, 600), (0, 2)),
    ],
)
def test_several_blocks(shape, axes):
    # exact enough as an oracle here: 2^-64 and pairwise sums
    x = random(shape)
    x.flat[::997] = np.nan
    wide = x.astype(np.longdouble)
    m = eq.Moments.of(x, axes)
    mean = np.nanmean(wide, axes, keepdims=True)
    m2 = np.nansum((wide - mean) ** 2, axes)
    assert np.array_equal(m.nan_count, np.isnan(x).sum(axes))
    assert np.max(abs(m.mean - mean.reshape(m.shape))) < 2e-14
    assert np.max(abs(m.m2 / m2 - 1)) < 4e-15


def test_blocks_that_differ_wildly_from_each_other():
    x = np.concatenate([random((140_000,)), 1e9 + random((140_000,)), [np.nan], random((5,))])
    wide = x[~np.isnan(x)].astype(np.longdouble)
    expected = ((wide - wide.mean()) ** 2).sum()
    assert abs(eq.Moments.of(x).m2 / expected - 1) < 2e-15


def swept(x, axes):
    strides = tuple(s // x.itemsize for s in x.strides)
    return layout(x.shape, strides, axes) is not None


def test_the_usual_layouts_are_swept_in_place():
    x = np.empty((8, 16, 10, 12), np.float32)
    nhwc = np.empty((8, 10, 12, 16), np.float32).transpose(0, 3, 1, 2)
    for axes in ((0, 2, 3), (0,), (1, 2, 3), (2, 3), (3,), (0, 1, 2, 3), ()):
        assert swept(x, axes), axes
    assert swept(nhwc, (0, 2, 3))
    assert swept(nhwc, (1,))
    assert swept(np.empty((100, 50))[:, 3:20], (0,))
    assert swept(np.empty((50, 100)).T, (0,))
    assert not swept(np.empty((100, 50))[:, ::2], (0,))


@pytest.mark.parametrize("p", [1, 3, 50, 1000, 5000, 100_000])
def test_partial_results_stay_below_a_megabyte(p):
    groups = matrix(10**9, p)[9]
    assert groups * p <= max(PARTS, p)
    assert PARTS * op.FIELDS * 8 < 1 << 20


def test_long_arrays_have_many_independent_tasks():
    for plan in (matrix(10**6, 50), matrix(10**7, 1), matrix(10**5, 5000)):
        _, _, p, _, _, _, _, _, _, groups, span = plan
        assert groups * -(-p // span) >= 6


def test_pieces_cover_the_reduced_axes_once():
    for shape, columns in (((7, 5, 3), 2), ((100,), 9), ((2, 1000), 10), ((), 4), ((3, 1), 10_000)):
        seen = np.zeros(shape, int)
        for box in op.pieces(shape, columns, 50):
            seen[box] += 1
            assert seen[box].size * columns <= max(50, columns)
        assert (seen == 1).all()

"""The walk over a tensor: every element once, in the right channel, whatever the shape."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_python import plain

from equipoise.ops.normalize import plan as plans
from equipoise.ops.normalize.words import APPLY, SUMS

BOTH = SUMS | APPLY
SMALL = plain()
# the constants as they are
WHOLE = plain(small=False)

sizes = st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple)
phases = st.sampled_from([BOTH, SUMS, APPLY])


def extents_of(walk, t, shape, phase, reverse):
    """Call a family's ``_extent``; only columns are walked in reverse."""
    takes = walk._extent.__code__.co_argcount
    return walk._extent(*(t, shape, phase, reverse)[:takes])


def row_stretches(walk, shape, phase, count, reverse):
    """Give (first index, size, line of each) of all that the tasks of a phase walk."""
    for t in range(count):
        r0, r1, first, last = extents_of(walk, t, shape, phase, reverse)
        assert r0 % shape[8] == r1 % shape[8] == 0, "a statistic is torn apart"
        begin, end = walk._pieces_of(first, last, shape)
        for v in range(begin, end):
            for r in range(r0, r1):
                at, size = walk._piece(v, r, shape)
                yield at, size, np.full(size, r)


def column_stretches(walk, shape, phase, count, reverse):
    _, numbers, width, channels, *_ = shape
    for t in range(count):
        sample, c0, columns, first, last = extents_of(walk, t, shape, phase, reverse)
        l0, l1 = walk._lines(sample, c0, columns, shape)
        i0, i1 = walk._rows_of(first, last, shape)
        whole, rest = walk._parts(i0, i1, c0, columns, shape)
        for i in range(i0, i1):
            n = columns if i - i0 < whole else rest
            of_column = sample * channels + np.arange(c0, c0 + n) % channels
            assert not n or l0 <= of_column.min() <= of_column.max() < l1
            yield sample * numbers + i * width + c0, n, of_column


def statistics_of(size, contiguous, groups):
    """Give the statistic of each number in storage order."""
    n, channels = size[:2]
    inner = int(np.prod(size[2:]))
    shape = (n, channels, inner)
    sample, channel, _ = np.indices(shape)
    statistic = sample * groups + channel // (channels // groups) if groups else channel
    return (statistic if contiguous else statistic.transpose(0, 2, 1)).ravel()


def check_walk(kernels, size, contiguous, phase, groups=0, reverse=0):
    """Raise unless the tasks of a phase walk each element once, for its own statistic."""
    p = kernels.plan(size, contiguous, groups)
    rows = p.family == "rows"
    walk, stretches = (kernels.rows, row_stretches) if rows else (kernels.columns, column_stretches)
    line = np.full(int(np.prod(size)), -1)
    count = p.tasks(phase)
    for at, n, of_element in stretches(walk, p.shape, phase, count, reverse):
        assert 0 <= at <= at + n <= line.size
        assert (line[at : at + n] == -1).all()
        line[at : at + n] = of_element
    per = p.shape[8] if rows else p.shape[6]
    assert np.array_equal(line // per, statistics_of(size, contiguous, groups))
    assert (p.lines, p.statistics) == (line.max() + 1, (line.max() + 1) // per)


def groups_of(size):
    """Give 0 and all numbers of groups that the channels can fall into."""
    return [0, *(k for k in range(1, size[1] + 1) if size[1] % k == 0)]


@given(sizes, st.booleans(), phases, st.data())
def test_small_blocks_cover_every_element_once(size, contiguous, phase, data):
    groups = data.draw(st.sampled_from(groups_of(size)))
    check_walk(SMALL, size, contiguous, phase, groups, data.draw(st.integers(0, 1)))


@pytest.mark.parametrize("phase", [BOTH, SUMS])
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize(
    "size",
    [
        (1, 1), (3, 1), (2, 3, 64), (2, 3, 65), (2, 40, 7, 7), (2, 40, 9, 9),
        (1, 2, plans.CHUNK), (2, 1, plans.CHUNK + 1), (40, 2, 5000), (2, plans.WIDTH),
        (2, plans.WIDTH + 1), (5000, 3), (3, 700, 3), (3, 33, 40, 40),
    ],
)  # fmt: skip
def test_blocks_as_they_are_cover_every_element_once(size, contiguous, phase):
    for groups in {0, 1, size[1]}:
        check_walk(WHOLE, size, contiguous, phase, groups)


def test_a_row_is_as_far_from_the_next_as_the_plan_says():
    # else what is written past the caches is not aligned, and the process ends
    for size in ((3, 17, 8, 8), (1000, 17, 8, 8), (2, 24, 40, 41), (5, 6, 7, 3)):
        for contiguous in (True, False):
            for groups in groups_of(size):
                p = WHOLE.plan(size, contiguous, groups)
                rows = p.family == "rows"
                walk, stretches = (
                    (WHOLE.rows, row_stretches) if rows else (WHOLE.columns, column_stretches)
                )
                count = p.tasks(SUMS)
                starts = [at for at, *_ in stretches(walk, p.shape, SUMS, count, 0)]
                if rows:
                    # pieces of a row begin where rows do, or a piece's length on
                    starts = [at % p.shape[3] % p.shape[5] for at in starts]
                assert all(at % p.pitch == 0 for at in starts), (size, contiguous, groups)


large = st.tuples(st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 2**20))


@given(large, st.booleans(), st.booleans())
def test_the_last_index_of_large_tensors(size, contiguous, grouped):
    # as int64, which overflows with a warning, and warnings are errors
    p = plans.plan(size, contiguous, int(grouped))
    shape = tuple(np.int64(v) for v in p.shape)
    numbers = int(np.prod(size, dtype=object))
    if p.family == "rows":
        walk = WHOLE.rows
        pieces, chunks = walk._counts(shape)
        last = p.tasks(SUMS) - 1
        _, r1, first, end = extents_of(walk, np.int64(last), shape, SUMS, 0)
        assert (r1, end, first * shape[6] < pieces) == (p.lines, chunks, True)
        assert sum(walk._piece(pieces - 1, r1 - 1, shape)) == numbers
    else:
        walk = WHOLE.columns
        last = p.tasks(SUMS) - 1
        sample, c0, columns, first, end = extents_of(walk, np.int64(last), shape, SUMS, 0)
        assert (sample, c0 + columns, end) == (p.shape[0] - 1, p.shape[2], p.chunks)
        i0, i1 = walk._rows_of(first, end, shape)
        assert i0 < i1
        whole, rest = walk._parts(i0, i1, c0, columns, shape)
        own = (i0 + whole) * shape[2] + rest if rest else (i0 + whole) * shape[2]
        assert sample * shape[1] + own == numbers


@given(sizes, st.booleans())
def test_the_plan_depends_on_the_shape_alone(size, contiguous):
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            found.append(plans.plan.__wrapped__(size, contiguous))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]

"""The walk over a tensor: every element once, in the right channel, whatever the shape."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_python import plain, run_sources

from equipoise.ops.normalize import activations, columns, cpu, rows, statistics
from equipoise.ops.normalize.statistics import APPLY, SUMS

BOTH = SUMS | APPLY
FAMILIES = {
    "rows": run_sources([statistics, activations, rows])[0],
    "columns": run_sources([statistics, activations, columns])[0],
}
SMALL = plain()

sizes = st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple)
phases = st.sampled_from([BOTH, SUMS, APPLY])


def row_stretches(shape, phase, count):
    """Give (first index, size, channel) of all that the tasks of a phase walk."""
    walk = FAMILIES["rows"]
    for t in range(count):
        r0, r1, first, last = walk._extent(t, shape, phase)
        for v in range(first * shape[6], min(walk._counts(shape)[0], last * shape[6])):
            for r in range(r0, r1):
                yield *walk._piece(v, r, shape), np.full(walk._piece(v, r, shape)[1], r)


def column_stretches(shape, phase, count):
    walk = FAMILIES["columns"]
    _, width, channels, inner, _, _ = shape
    for t in range(count):
        c0, wide, i0, i1, _ = walk._extent(t, shape, phase)
        r0, r1 = walk._channels(c0, wide, shape)
        for i in range(i0, i1):
            n = walk._width(i, c0, wide, shape)
            of_column = np.arange(c0, c0 + n) // inner % channels
            assert not n or r0 <= of_column.min() <= of_column.max() < r1
            yield i * width + c0, n, of_column


def check_walk(plan, size, contiguous, phase):
    """Raise unless the tasks of a phase walk each element once, as one of its own channel."""
    p = plan(size, contiguous)
    family, stretches = (rows, row_stretches) if p.family == "rows" else (columns, column_stretches)
    phase = phase if p.whole or phase != BOTH else SUMS
    channel = np.full(int(np.prod(size)), -1)
    for at, n, of_element in stretches(p.shape, phase, family.tasks(p.shape, phase, p.chunks)):
        assert 0 <= at <= at + n <= channel.size
        assert (channel[at : at + n] == -1).all()
        channel[at : at + n] = of_element
    inner = int(np.prod(size[2:])) if contiguous else 1
    assert np.array_equal(channel, np.arange(channel.size) // inner % size[1])
    assert p.channels == size[1]


@given(sizes, st.booleans(), phases)
def test_small_blocks_cover_every_element_once(size, contiguous, phase):
    check_walk(SMALL.plan, size, contiguous, phase)


@pytest.mark.parametrize("phase", [BOTH, SUMS])
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize(
    "size",
    [
        (1, 1), (3, 1), (2, 3, cpu.SHORT), (2, 3, cpu.SHORT + 1), (2, 40, 7, 7), (2, 40, 9, 9),
        (1, 2, cpu.CHUNK), (2, 1, cpu.CHUNK + 1), (40, 2, 5000), (2, cpu.WIDTH), (2, cpu.WIDTH + 1),
        (5000, 3), (3, 700, 3), (3, 33, 40, 40),
    ],
)  # fmt: skip
def test_blocks_as_they_are_cover_every_element_once(size, contiguous, phase):
    check_walk(cpu.plan, size, contiguous, phase)


large = st.tuples(st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 2**20))


@given(large, st.booleans())
def test_the_last_index_of_large_tensors(size, contiguous):
    # as int64, which overflows with a warning, and warnings are errors
    p = cpu.plan(size, contiguous)
    shape = tuple(np.int64(v) for v in p.shape)
    walk, numbers = FAMILIES[p.family], int(np.prod(size, dtype=object))
    if p.family == "rows":
        pieces, chunks = walk._counts(shape)
        last = p.groups * chunks - 1
        _, r1, first, end = walk._extent(np.int64(last), shape, SUMS)
        assert (r1, end, first * shape[6] < pieces) == (size[1], chunks, True)
        assert sum(walk._piece(pieces - 1, r1 - 1, shape)) == numbers
    else:
        last = columns.tasks(p.shape, SUMS, p.chunks) - 1
        c0, wide, i0, i1, k = walk._extent(np.int64(last), shape, SUMS)
        rows_ = -(-numbers // p.shape[1])
        assert (c0 + wide, i1, k) == (p.shape[1], rows_, p.chunks - 1)
        assert i0 < i1
        ends = (i1 - 1) * shape[1] + walk._width(i1 - 1, np.int64(0), shape[1], shape)
        assert ends == numbers


@given(sizes, st.booleans())
def test_the_plan_depends_on_the_shape_alone(size, contiguous):
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            found.append(cpu.plan.__wrapped__(size, contiguous))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]

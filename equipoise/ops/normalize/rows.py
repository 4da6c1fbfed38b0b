"""The row family on the CPU: what is reduced lies in runs of memory (contiguous images).

A line is ``runs`` runs of ``length`` numbers; run k of line r begins at
``r * pitch + k * run_stride``.  Runs are cut into pieces of at most ``piece`` numbers, ``chunk``
pieces are summed together, and chunks merge in order.  ``group`` neighbouring lines, whole
statistics, are walked together, run by run, so that short runs still read memory in long
stretches.  The tuple ``shape`` says all that: (lines, runs, length, pitch, run_stride, piece,
chunk, group, per, centred); it depends on the norm and the tensor's shape alone, so the bits are
the same at any thread count.

A task is one group with both phases while it is in cache, or one chunk of a group and one phase
where groups are fewer than threads.  Sweeps over memory while a group stays in cache: 1 read
and 1 write forward, 2 and 1 backward.
"""

import numpy as np
from numba import carray

from equipoise.ops.jit import inline, splice
from equipoise.ops.normalize.running import move
from equipoise.ops.normalize.statistics import (
    add_samples,
    affine_of_lines,
    digits_lost,
    gradient_of_lines,
    gradient_sums_of_lines,
    merge_chunks,
    write_statistics,
)
from equipoise.ops.normalize.words import (
    APPLY,
    BATCHES,
    BIAS,
    CHANNELS,
    DX,
    FIRST_SWEEP,
    GATED,
    GRADIENT_SWEEP,
    ITEM,
    MOMENTS_SWEEP,
    OTHER,
    OUTPUT_SWEEP,
    REUSED,
    RUNNING_MEAN,
    RUNNING_VAR,
    SHAPE,
    STATS,
    SUMMED,
    SUMS,
    SUMS_SWEEP,
    TRAINING,
    WEIGHT,
    G,
    X,
    Y,
)
from equipoise.ops.sweep.call import address, pointer_at, run
from equipoise.ops.sweep.loop import AFTER, ANSWER, PHASE, SCRATCH

# how many numbers give the first shift
FIRST = 256
# and how many of each line at least, where several share it
FEW = 16


@splice
def _shape(integers, k):
    i = integers
    return (
        i[k],
        i[k + 1],
        i[k + 2],
        i[k + 3],
        i[k + 4],
        i[k + 5],
        i[k + 6],
        i[k + 7],
        i[k + 8],
        i[k + 9],
    )


@splice
def _counts(shape):
    """Give the pieces and the chunks of a line."""
    _, runs, length, _, _, piece, chunk, _, _, _ = shape
    pieces = runs * ((length + piece - 1) // piece)
    return pieces, (pieces + chunk - 1) // chunk


@splice
def _piece(v, r, shape):
    """Give the first index and the size of piece ``v`` of line ``r``."""
    _, _, length, pitch, run_stride, piece, _, _, _, _ = shape
    of_run = (length + piece - 1) // piece
    at = v % of_run * piece
    return r * pitch + v // of_run * run_stride + at, min(piece, length - at)


@splice
def _extent(t, shape, phase):
    """Give the range of lines and the range of chunks of task ``t``."""
    chunks, group = _counts(shape)[1], shape[7]
    g, first, last = t, 0, chunks
    if phase != SUMS | APPLY:
        g, first, last = t // chunks, t % chunks, t % chunks + 1
    return g * group, min(shape[0], (g + 1) * group), first, last


@splice
def _pieces_of(first, last, shape):
    return first * shape[6], min(_counts(shape)[0], last * shape[6])


@inline
def _first_shift(sweep, x, item, r0, r1, shape, stats):
    """Take the mean of the first numbers of each statistic's lines as its shift.

    Of all its lines: channels of a group may lie far apart.  0 if it is not centred.
    """
    per = shape[8]
    size = min(shape[2], max(FIRST // per, FEW)) * shape[9]
    total = np.zeros(r1 - r0)
    words = (np.int64(total.size), size, shape[3], x + r0 * shape[3] * item)
    run(sweep, (*words, address(total, 0)), total)
    for r in range(r0 // per, r1 // per):
        middle = 0.0
        for k in range(r * per - r0, (r + 1) * per - r0):
            middle += total[k]
        stats[0, r] = middle / max(size * per, 1)


@splice
def _clear(partial, k, r0, r1):
    for r in range(r0, r1):
        partial[k, 0, r] = 0.0
        partial[k, 1, r] = 0.0


@splice
def _sums_at(partial, k, r0):
    """Give the addresses of a chunk's two sums from line ``r0`` on."""
    at = k * 2 * partial.shape[2] + r0
    return address(partial, at), address(partial, at + partial.shape[2])


@splice
def _line_numbers(coef, k):
    return address(coef, k * coef.shape[1])


@inline
def _forward_task(t, i, shape, eps, weight, bias, stats, partial):
    phase, item, x = i[PHASE], i[ITEM], i[X]
    r0, r1, first, last = _extent(t, shape, phase)
    n, pitch, per = r1 - r0, shape[3], shape[8]
    coef = np.empty((3, n), weight.dtype)
    if phase & SUMS:
        _first_shift(i[FIRST_SWEEP], x, item, r0, r1, shape, stats)
        for r in range(r0, r1):
            coef[0, r - r0] = stats[0, r // per]
            # the shift as the sweep sees it
            stats[0, r // per] = coef[0, r - r0]
        for k in range(first, last):
            _clear(partial, k, r0, r1)
            s, q = _sums_at(partial, k, r0)
            begin, end = _pieces_of(k, k + 1, shape)
            for v in range(begin, end):
                at, size = _piece(v, r0, shape)
                shift = _line_numbers(coef, 0)
                run(i[MOMENTS_SWEEP], (n, size, pitch, x + at * item, shift, s, q), coef)
        if phase & APPLY:
            count = np.float64(shape[1] * shape[2] * per)
            merge_chunks(partial, r0, r1)
            for r in range(r0 // per, r1 // per):
                write_statistics(partial, r, per, count, eps, shape[9], stats)
    if phase & APPLY:
        affine_of_lines(r0, r1, per, stats, weight, bias, coef)
        h, a, b = _line_numbers(coef, 0), _line_numbers(coef, 1), _line_numbers(coef, 2)
        begin, end = _pieces_of(first, last, shape)
        for v in range(begin, end):
            at, size = _piece(v, r0, shape)
            byte = at * item
            streams = (x + byte, i[OTHER] + byte, i[Y] + byte)
            run(i[OUTPUT_SWEEP], (n, size, pitch, *streams, h, a, b), coef)


def rows_forward(t, integers, floats, computed):
    """Statistics (phase 1), normalization (phase 2), or both a group (phase 3).

    Integers: see ``words``; floats: eps.  The scratch is partial (chunks, 2, lines).  Answers
    whether digits were lost.
    """
    i, shape = integers, _shape(integers, SHAPE)
    lines, per = shape[0], shape[8]
    stats = carray(pointer_at(floats, i[STATS]), (4, lines // per))
    partial = carray(pointer_at(floats, i[SCRATCH]), (_counts(shape)[1], 2, lines))
    if t >= 0:
        weight = carray(pointer_at(computed, i[WEIGHT]), (i[CHANNELS],))
        bias = carray(pointer_at(computed, i[BIAS]), (i[CHANNELS],))
        _forward_task(t, i, shape, floats[0], weight, bias, stats, partial)
    elif t == AFTER and i[PHASE] == SUMS:
        merge_chunks(partial, 0, lines)
        for r in range(lines // per):
            count = np.float64(shape[1] * shape[2] * per)
            write_statistics(partial, r, per, count, floats[0], shape[9], stats)
    if t == AFTER and i[PHASE] & SUMS:
        i[ANSWER] = digits_lost(stats)
        if i[RUNNING_MEAN] != 0 and i[ANSWER] == 0:
            means = carray(pointer_at(computed, i[RUNNING_MEAN]), (i[CHANNELS],))
            variances = carray(pointer_at(computed, i[RUNNING_VAR]), (i[CHANNELS],))
            move(means, variances, stats, floats[1], np.float64(shape[1] * shape[2]))
            if i[BATCHES] != 0:
                carray(pointer_at(integers, i[BATCHES]), (1,))[0] += 1


@inline
def _backward_task(t, i, shape, weight, bias, stats, sums, partial):
    phase, training, item = i[PHASE], i[TRAINING], i[ITEM]
    g, x, other, dx, gated = i[G], i[X], i[OTHER], i[DX], i[GATED]
    r0, r1, first, last = _extent(t, shape, phase)
    n, pitch, per = r1 - r0, shape[3], shape[8]
    coef = np.empty((6, n), weight.dtype)
    affine_of_lines(r0, r1, per, stats, weight, bias, coef)
    h, scale, offset = _line_numbers(coef, 0), _line_numbers(coef, 1), _line_numbers(coef, 2)
    if phase & SUMS:
        for k in range(first, last):
            _clear(partial, k, r0, r1)
            s, q = _sums_at(partial, k, r0)
            begin, end = _pieces_of(k, k + 1, shape)
            for v in range(begin, end):
                at, size = _piece(v, r0, shape)
                byte = at * item
                streams = (g + byte, x + byte, other + byte, gated + byte)
                run(i[SUMS_SWEEP], (n, size, pitch, *streams, h, scale, offset, s, q), coef)
        if phase & APPLY:
            merge_chunks(partial, r0, r1)
            gradient_sums_of_lines(r0, r1, per, partial, stats, weight, sums)
    if phase & APPLY:
        count = np.float64(shape[1] * shape[2] * per)
        gradient_of_lines(r0, r1, per, stats, weight, sums, count, training, shape[9], coef[3:])
        a, b, c = _line_numbers(coef, 3), _line_numbers(coef, 4), _line_numbers(coef, 5)
        # what came out of the first sweep needs no activation's derivative any more
        g = gated if i[REUSED] else g
        begin, end = _pieces_of(first, last, shape)
        for v in range(begin, end):
            at, size = _piece(v, r0, shape)
            byte = at * item
            streams = (g + byte, x + byte, other + byte, dx + byte)
            run(i[GRADIENT_SWEEP], (n, size, pitch, *streams, h, scale, offset, a, b, c), coef)


def rows_backward(t, integers, floats, computed):
    """Sums of the gradient (phase 1), the input's gradient (phase 2), or both a group (phase 3).

    In the end the first sample's sums are those of all samples, and the parameters' gradients.
    Integers and scratch as for ``rows_forward``.
    """
    i, shape = integers, _shape(integers, SHAPE)
    lines, per = shape[0], shape[8]
    stats = carray(pointer_at(floats, i[STATS]), (4, lines // per))
    sums = carray(pointer_at(floats, i[SUMMED]), (2, lines))
    partial = carray(pointer_at(floats, i[SCRATCH]), (_counts(shape)[1], 2, lines))
    weight = carray(pointer_at(computed, i[WEIGHT]), (i[CHANNELS],))
    bias = carray(pointer_at(computed, i[BIAS]), (i[CHANNELS],))
    if t >= 0:
        _backward_task(t, i, shape, weight, bias, stats, sums, partial)
    elif t == AFTER and i[PHASE] == SUMS:
        merge_chunks(partial, 0, lines)
        gradient_sums_of_lines(0, lines, per, partial, stats, weight, sums)
    if t == AFTER and i[PHASE] & APPLY:
        add_samples(i, sums, computed)

"""The column family on the CPU: what is kept lies innermost (channels_last images).

Each sample is a matrix of rows x ``width`` whose column j belongs to channel j % channels; narrow
ones are folded so that a row holds each channel several times and vectors stay long whatever the
number of channels.  The last row may be shorter.  For BatchNorm the whole batch is one sample.
Line s * channels + c is channel c of sample s.  The tuple ``shape`` says all that: (samples,
numbers of a sample, width, channels, tile, chunk, per, centred); it depends on the norm and the
tensor's shape alone, so the bits are the same at any thread count.

A task is a tile of columns with both phases where a tile stays in cache, or a chunk of a tile's
rows and one phase; where a tensor is larger than the caches the second phase takes chunks in
reverse, since they still hold the last ones.  Within a chunk rows are walked upwards, as they
lie: the prefetchers lose descending rows.
Sweeps over memory: 2 reads and 1 write forward, 4 reads and 1 write backward; in cached tiles
1 and 1, 2 and 1.
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
    REVERSED,
    RUN,
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
from equipoise.ops.sweep.loop import AFTER, ANSWER, BEFORE, PHASE, SCRATCH

# rows whose mean is the first shift
FIRST = 8


@splice
def _shape(integers, k):
    i = integers
    return i[k], i[k + 1], i[k + 2], i[k + 3], i[k + 4], i[k + 5], i[k + 6], i[k + 7]


@splice
def _rows(shape):
    return (shape[1] + shape[2] - 1) // shape[2]


@splice
def _chunks(shape):
    return (_rows(shape) + shape[5] - 1) // shape[5]


@splice
def _extent(t, shape, phase, reverse):
    """Give sample, first column, columns, first and end chunk of task ``t``."""
    width, tile = shape[2], shape[4]
    tiles = (width + tile - 1) // tile
    rest = t // tiles
    c0 = t % tiles * tile
    columns = min(tile, width - c0)
    if phase == SUMS | APPLY:
        return rest, c0, columns, 0, _chunks(shape)
    chunks = _chunks(shape)
    k = rest % chunks
    if phase == APPLY and reverse:
        k = chunks - 1 - k
    return rest // chunks, c0, columns, k, k + 1


@splice
def _rows_of(first, last, shape):
    return first * shape[5], min(_rows(shape), last * shape[5])


@splice
def _lines(sample, c0, columns, shape):
    """Give the range of lines of the columns; a tile narrower than a row has its own."""
    channels = shape[3]
    first = sample * channels + c0 % channels
    return first, first + min(columns, channels)


@splice
def _parts(i0, i1, c0, columns, shape):
    """Count the whole rows from ``i0`` on, and the columns that a last, shorter row has."""
    whole = min(i1, shape[1] // shape[2]) - i0
    rest = min(max(shape[1] % shape[2] - c0, 0), columns) if i1 > i0 + whole else 0
    return whole, rest


@splice
def _spread(coef, first, wide):
    """Repeat the channels' numbers (n, channels) over the columns of ``wide`` (m, columns)."""
    for k in range(coef.shape[0]):
        for at in range(0, wide.shape[1], coef.shape[1]):
            for r in range(min(coef.shape[1], wide.shape[1] - at)):
                wide[first + k, at + r] = coef[k, r]


@splice
def _flush(sums, l0, l1, k, partial):
    """Move a run's sums (2, columns) over to the lines' in float64."""
    for j in range(2):
        for at in range(0, sums.shape[1], l1 - l0):
            for r in range(min(l1 - l0, sums.shape[1] - at)):
                partial[k, j, l0 + r] += sums[j, at + r]
                sums[j, at + r] = 0


@inline
def _first_shift(sweep, x, item, sample, c0, columns, shape, weight, stats):
    """Take the mean of the first rows as each statistic's shift, 0 if it is not centred."""
    per, l0, l1 = shape[6], *_lines(sample, c0, columns, shape)
    for r in range(l0 // per, l1 // per):
        stats[0, r] = 0.0
    if not shape[7]:
        return
    # a lone short row still holds every channel: narrow samples fold in whole channels
    rows, n = min(FIRST, shape[1] // shape[2]), columns
    if rows == 0:
        rows, n = 1, shape[1]
    sums = np.zeros(n, weight.dtype)
    words = (np.int64(rows), n, shape[2], x + (sample * shape[1] + c0) * item)
    run(sweep, (*words, address(sums, 0)), sums)
    count = np.float64(rows * n // (l1 - l0) * per)
    for at in range(0, n, l1 - l0):
        for r in range(l1 - l0):
            stats[0, (l0 + r) // per] += sums[at + r] / count
    for r in range(l0 // per, l1 // per):
        # as the sweeps see it
        stats[0, r] = weight.dtype.type(stats[0, r])


@splice
def _clear(partial, k, l0, l1):
    for r in range(l0, l1):
        partial[k, 0, r] = 0.0
        partial[k, 1, r] = 0.0


@splice
def _count(shape):
    return np.float64(shape[1] // shape[3] * shape[6])


@splice
def _wide(i, shape):
    """Give the address of the scratch behind the partial sums."""
    return i[SCRATCH] + 8 * 2 * _chunks(shape) * shape[0] * shape[3]


@splice
def _rows_at(wide, own, sample, c0, shape, fused):
    """Give the address of the columns' numbers and the distance of its rows, in bytes.

    A task that is alone on its columns has its own; else they are made once for all tasks.
    """
    if fused:
        return address(own, 0), own.shape[1] * own.itemsize
    width = shape[2]
    return wide + (sample * own.shape[0] * width + c0) * own.itemsize, width * own.itemsize


@inline
def _shift_columns(l0, l1, per, stats, wide):
    coef = np.empty((1, l1 - l0), wide.dtype)
    for r in range(l0, l1):
        coef[0, r - l0] = stats[0, r // per]
    _spread(coef, 0, wide)


@inline
def _affine_columns(l0, l1, per, stats, weight, bias, wide):
    coef = np.empty((3, l1 - l0), weight.dtype)
    affine_of_lines(l0, l1, per, stats, weight, bias, coef)
    _spread(coef, 0, wide)


@inline
def _gradient_columns(l0, l1, per, stats, weight, sums, training, shape, wide):
    coef = np.empty((3, l1 - l0), weight.dtype)
    count = _count(shape)
    gradient_of_lines(l0, l1, per, stats, weight, sums, count, training, shape[7], coef)
    _spread(coef, 3, wide)


@inline
def _forward_task(t, i, shape, eps, weight, bias, stats, partial):
    phase, item, per = i[PHASE], i[ITEM], shape[6]
    fused = phase == SUMS | APPLY
    sample, c0, columns, first, last = _extent(t, shape, phase, i[REVERSED])
    l0, l1 = _lines(sample, c0, columns, shape)
    start, pitch = sample * shape[1] + c0, shape[2]
    own = np.empty((3, columns if fused else 1), weight.dtype)
    h, step = _rows_at(_wide(i, shape), own, sample, c0, shape, fused)
    if phase & SUMS:
        if fused:
            _first_shift(i[FIRST_SWEEP], i[X], item, sample, c0, columns, shape, weight, stats)
            _shift_columns(l0, l1, per, stats, own)
        sums = np.zeros((2, columns), weight.dtype)
        s, q = address(sums, 0), address(sums, columns)
        kept = (own, sums)
        for k in range(first, last):
            _clear(partial, k, l0, l1)
            i0, i1 = _rows_of(k, k + 1, shape)
            for r in range(i0, i1, RUN):
                whole, rest = _parts(r, min(r + RUN, i1), c0, columns, shape)
                x = i[X] + (start + r * pitch) * item
                run(i[MOMENTS_SWEEP], (whole, columns, pitch, x, h, s, q), kept)
                if rest:
                    x += whole * pitch * item
                    run(i[MOMENTS_SWEEP], (np.int64(1), rest, pitch, x, h, s, q), kept)
                _flush(sums, l0, l1, k, partial)
        if fused:
            merge_chunks(partial, l0, l1)
            for r in range(l0 // per, l1 // per):
                write_statistics(partial, r, per, _count(shape), eps, shape[7], stats)
    if phase & APPLY:
        if fused:
            _affine_columns(l0, l1, per, stats, weight, bias, own)
        i0, i1 = _rows_of(first, last, shape)
        whole, rest = _parts(i0, i1, c0, columns, shape)
        byte = (start + i0 * pitch) * item
        numbers = (h, h + step, h + 2 * step)
        streams = (i[X] + byte, i[OTHER] + byte, i[Y] + byte)
        run(i[OUTPUT_SWEEP], (whole, columns, pitch, *streams, *numbers), own)
        if rest:
            byte += whole * pitch * item
            streams = (i[X] + byte, i[OTHER] + byte, i[Y] + byte)
            run(i[OUTPUT_SWEEP], (np.int64(1), rest, pitch, *streams, *numbers), own)


def columns_forward(t, integers, floats, computed):
    """Statistics (phase 1), normalization (phase 2), or both a tile (phase 3).

    Integers, floats and answer as for ``rows_forward``.  The scratch is partial (chunks, 2,
    lines), then wide (samples, 3, width) in the compute type: the numbers of each column.
    """
    i, shape = integers, _shape(integers, SHAPE)
    samples, width, lines, per = shape[0], shape[2], shape[0] * shape[3], shape[6]
    stats = carray(pointer_at(floats, i[STATS]), (4, lines // per))
    partial = carray(pointer_at(floats, i[SCRATCH]), (_chunks(shape), 2, lines))
    weight = carray(pointer_at(computed, i[WEIGHT]), (i[CHANNELS],))
    bias = carray(pointer_at(computed, i[BIAS]), (i[CHANNELS],))
    if t >= 0:
        _forward_task(t, i, shape, floats[0], weight, bias, stats, partial)
    elif t == BEFORE and i[PHASE] != SUMS | APPLY:
        wide = carray(pointer_at(computed, _wide(i, shape)), (samples, 3, width))
        for k in range(samples):
            l0, l1 = _lines(k, 0, width, shape)
            if i[PHASE] == SUMS:
                _first_shift(i[FIRST_SWEEP], i[X], i[ITEM], k, 0, width, shape, weight, stats)
                _shift_columns(l0, l1, per, stats, wide[k])
            else:
                _affine_columns(l0, l1, per, stats, weight, bias, wide[k])
    elif t == AFTER and i[PHASE] == SUMS:
        merge_chunks(partial, 0, lines)
        for r in range(lines // per):
            write_statistics(partial, r, per, _count(shape), floats[0], shape[7], stats)
    if t == AFTER and i[PHASE] & SUMS:
        i[ANSWER] = digits_lost(stats)
        if i[RUNNING_MEAN] != 0 and i[ANSWER] == 0:
            means = carray(pointer_at(computed, i[RUNNING_MEAN]), (i[CHANNELS],))
            variances = carray(pointer_at(computed, i[RUNNING_VAR]), (i[CHANNELS],))
            move(means, variances, stats, floats[1], _count(shape))
            if i[BATCHES] != 0:
                carray(pointer_at(integers, i[BATCHES]), (1,))[0] += 1


@inline
def _backward_task(t, i, shape, weight, bias, stats, sums, partial):
    phase, training, item, per = i[PHASE], i[TRAINING], i[ITEM], shape[6]
    fused = phase == SUMS | APPLY
    sample, c0, columns, first, last = _extent(t, shape, phase, i[REVERSED])
    l0, l1 = _lines(sample, c0, columns, shape)
    start, pitch = sample * shape[1] + c0, shape[2]
    own = np.empty((6, columns if fused else 1), weight.dtype)
    h, step = _rows_at(_wide(i, shape), own, sample, c0, shape, fused)
    numbers = (h, h + step, h + 2 * step)
    if fused:
        _affine_columns(l0, l1, per, stats, weight, bias, own)
    if phase & SUMS:
        totals = np.zeros((2, columns), weight.dtype)
        s, q = address(totals, 0), address(totals, columns)
        kept = (own, totals)
        for k in range(first, last):
            _clear(partial, k, l0, l1)
            i0, i1 = _rows_of(k, k + 1, shape)
            for r in range(i0, i1, RUN):
                whole, rest = _parts(r, min(r + RUN, i1), c0, columns, shape)
                byte = (start + r * pitch) * item
                streams = (i[G] + byte, i[X] + byte, i[OTHER] + byte, i[GATED] + byte)
                run(i[SUMS_SWEEP], (whole, columns, pitch, *streams, *numbers, s, q), kept)
                if rest:
                    byte += whole * pitch * item
                    streams = (i[G] + byte, i[X] + byte, i[OTHER] + byte, i[GATED] + byte)
                    run(i[SUMS_SWEEP], (np.int64(1), rest, pitch, *streams, *numbers, s, q), kept)
                _flush(totals, l0, l1, k, partial)
        if fused:
            merge_chunks(partial, l0, l1)
            gradient_sums_of_lines(l0, l1, per, partial, stats, weight, sums)
            _gradient_columns(l0, l1, per, stats, weight, sums, training, shape, own)
    if phase & APPLY:
        more = (h + 3 * step, h + 4 * step, h + 5 * step)
        # what came out of the first sweep needs no activation's derivative any more
        g = i[GATED] if i[REUSED] else i[G]
        i0, i1 = _rows_of(first, last, shape)
        whole, rest = _parts(i0, i1, c0, columns, shape)
        byte = (start + i0 * pitch) * item
        streams = (g + byte, i[X] + byte, i[OTHER] + byte, i[DX] + byte)
        run(i[GRADIENT_SWEEP], (whole, columns, pitch, *streams, *numbers, *more), own)
        if rest:
            byte += whole * pitch * item
            streams = (g + byte, i[X] + byte, i[OTHER] + byte, i[DX] + byte)
            run(i[GRADIENT_SWEEP], (np.int64(1), rest, pitch, *streams, *numbers, *more), own)


def columns_backward(t, integers, floats, computed):
    """Sums of the gradient (phase 1), the input's gradient (phase 2), or both a tile (phase 3).

    In the end the first sample's sums are those of all samples, and the parameters' gradients.
    Integers and scratch as for ``columns_forward``, but six numbers a column.
    """
    i, shape = integers, _shape(integers, SHAPE)
    samples, width, lines, per = shape[0], shape[2], shape[0] * shape[3], shape[6]
    stats = carray(pointer_at(floats, i[STATS]), (4, lines // per))
    sums = carray(pointer_at(floats, i[SUMMED]), (2, lines))
    partial = carray(pointer_at(floats, i[SCRATCH]), (_chunks(shape), 2, lines))
    weight = carray(pointer_at(computed, i[WEIGHT]), (i[CHANNELS],))
    bias = carray(pointer_at(computed, i[BIAS]), (i[CHANNELS],))
    if t >= 0:
        _backward_task(t, i, shape, weight, bias, stats, sums, partial)
    elif t == BEFORE and i[PHASE] != SUMS | APPLY:
        wide = carray(pointer_at(computed, _wide(i, shape)), (samples, 6, width))
        for k in range(samples):
            l0, l1 = _lines(k, 0, width, shape)
            _affine_columns(l0, l1, per, stats, weight, bias, wide[k])
            if i[PHASE] == APPLY:
                _gradient_columns(l0, l1, per, stats, weight, sums, i[TRAINING], shape, wide[k])
    elif t == AFTER and i[PHASE] == SUMS:
        merge_chunks(partial, 0, lines)
        gradient_sums_of_lines(0, lines, per, partial, stats, weight, sums)
    if t == AFTER and i[PHASE] & APPLY:
        add_samples(i, sums, computed)

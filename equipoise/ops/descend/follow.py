"""Follow the exact solution on cross products as the penalty changes: parametric active set.

For t from 0 to 1 the problem is ½ wᵀG w − (q + (1 − t) e)ᵀw + Σ λ(t)|w| + ½ Σ μ w², with λ(t)
linear.  e and λ(0) are such that the given w is optimal at t = 0; at t = 1 the problem is the
one that was asked.  Between two changes of the support w is linear in t.  The inverse on the
support is kept, and each change costs a rank-one update.  (Osborne, Presnell and Turlach 2000;
Efron et al. 2004; Ferreau, Bock and Diehl 2008.)
"""

import numpy as np

from equipoise.ops.descend.gram import axpy, dot, row, triangle
from equipoise.ops.jit import Kernel, fast, inline, window

# a column that keeps less than this share of its square beside the support depends on it, by
# products in float64 or float32
DEPENDENT, SINGLE = 1e-11, 1e-6
# changes after which the direction is computed afresh
FRESH = 32


@fast
def add_four(a, b, c, d, fa, fb, fc, fd, out):
    for i in range(out.shape[0]):
        out[i] -= (fa * a[i] + fb * b[i]) + (fc * c[i] + fd * d[i])


@inline
def subtract_products(G, support, m, z, out):
    """Take Σ z_s G[s] from ``out``."""
    k = out.shape[0]
    s = 0
    while s + 4 <= m:
        add_four(
            row(G, support[s], k), row(G, support[s + 1], k), row(G, support[s + 2], k),
            row(G, support[s + 3], k), z[s], z[s + 1], z[s + 2], z[s + 3], out,
        )  # fmt: skip
        s += 4
    while s < m:
        axpy(z[s], row(G, support[s], k), out)
        s += 1


@fast
def spread_four(a, b, c, d, fa, fb, fc, fd, v, out):
    """Add fa a + fb b + ... to ``out``, and give a·v, b·v, ...: both halves of a product."""
    sa, sb, sc, sd = 0.0, 0.0, 0.0, 0.0
    for t in range(out.shape[0]):
        sa += a[t] * v[t]
        sb += b[t] * v[t]
        sc += c[t] * v[t]
        sd += d[t] * v[t]
        out[t] += (fa * a[t] + fb * b[t]) + (fc * c[t] + fd * d[t])
    return sa, sb, sc, sd


@inline
def spread(inverse, first, s, v, start, out):
    """Do the same for the entries from ``first`` of one row s, and set out[s]."""
    total = start
    below = triangle(inverse, s)
    for t in range(first, s):
        total += below[t] * v[t]
        out[t] += below[t] * v[s]
    out[s] = total + below[s] * v[s]


@inline
def solve_support(inverse, m, v, out):
    """Fill ``out`` with inverse @ v, by the triangle of the inverse that is kept."""
    s = 0
    while s + 4 <= m:
        sums = spread_four(
            window(triangle(inverse, s), 0, s), window(triangle(inverse, s + 1), 0, s),
            window(triangle(inverse, s + 2), 0, s), window(triangle(inverse, s + 3), 0, s),
            v[s], v[s + 1], v[s + 2], v[s + 3], window(v, 0, s), window(out, 0, s),
        )  # fmt: skip
        for i in range(4):
            spread(inverse, s, s + i, v, sums[i], out)
        s += 4
    while s < m:
        spread(inverse, 0, s, v, 0.0, out)
        s += 1


@inline
def add_square(inverse, m, u, factor):
    """Add factor × u uᵀ to the inverse."""
    for s in range(m):
        axpy(-u[s] * factor, window(u, 0, s + 1), triangle(inverse, s))


@inline
def enter(G, l2, support, m, inverse, j, column, u):
    """Extend the inverse by feature j; give what it keeps beside the support, 0 if dependent."""
    for s in range(m):
        column[s] = G[j, support[s]]
    solve_support(inverse, m, column, u)
    whole = G[j, j] + l2[j]
    left = whole - dot(window(u, 0, m), window(column, 0, m))
    if not left > (DEPENDENT if G.itemsize == 8 else SINGLE) * whole:
        return 0.0
    factor = 1.0 / left
    add_square(inverse, m, u, factor)
    last = triangle(inverse, m)
    for s in range(m):
        last[s] = -u[s] * factor
    last[m] = factor
    support[m] = j
    return left


@inline
def leave(inverse, support, signs, z, m, at, u):
    """Take the feature at place ``at`` out of the inverse; the last one moves there."""
    for s in range(at):
        u[s] = triangle(inverse, at)[s]
    for s in range(at, m):
        u[s] = triangle(inverse, s)[at]
    factor, share = 1.0 / u[at], z[at] / u[at]
    add_square(inverse, m, u, -factor)
    axpy(share, window(u, 0, m), window(z, 0, m))
    last = triangle(inverse, m - 1)
    for s in range(at):
        triangle(inverse, at)[s] = last[s]
    for s in range(at + 1, m - 1):
        triangle(inverse, s)[at] = last[s]
    triangle(inverse, at)[at] = last[m - 1]
    support[at], signs[at], z[at] = support[m - 1], signs[m - 1], z[m - 1]


@fast
def shortfall(c, dc, low, dlow, entered, positive, most):
    """Give the least step (and feature) at which a correlation reaches its penalty."""
    best, feature = most, -1
    for j in range(c.shape[0]):
        if entered[j] == 0:
            rate = dc[j] - dlow[j]
            if rate > 0.0:
                t = max(0.0, low[j] - c[j]) / rate
                if t < best:
                    best, feature = t, j
            rate = -dc[j] - dlow[j]
            if rate > 0.0 and not positive:
                t = max(0.0, low[j] + c[j]) / rate
                if t < best:
                    best, feature = t, j
    return best, feature


@inline
def first_zero(w, support, signs, m, u, sign):
    """Give the place in the support, and the step along −sign u, at which a coefficient is zero."""
    at, best = -1, np.inf
    for s in range(m):
        if sign * u[s] * signs[s] > 0.0:
            reach = max(0.0, w[support[s]] / (sign * u[s]))
            if reach < best:
                at, best = s, reach
    return at, best


@inline
def direct(inverse, support, signs, m, e, dlow, column, z):
    """Fill ``z`` with the rate at which the coefficients of the support move."""
    for s in range(m):
        column[s] = -e[support[s]] - dlow[support[s]] * signs[s]
    solve_support(inverse, m, column, z)


@inline
def join(G, l2, support, signs, z, m, inverse, j, sign, rate, column, u):
    """Extend the support by feature j, and z with it; tell what `enter` does."""
    left = enter(G, l2, support, m, inverse, j, column, u)
    if left > 0.0:
        z[m] = (rate - dot(window(column, 0, m), window(z, 0, m))) / left
        axpy(z[m], window(u, 0, m), window(z, 0, m))
        signs[m] = sign
    return left


@inline
def refine(G, q, w, g, l1, l2, support, signs, m, inverse, positive, column, u):
    """Set g = q − G w afresh, and take one more step on the support where no sign changes."""
    g[:] = q
    for s in range(m):
        u[s] = w[support[s]]
    subtract_products(G, support, m, u, g)
    for s in range(m):
        j = support[s]
        column[s] = g[j] - l2[j] * w[j] - l1[j] * signs[s]
    solve_support(inverse, m, column, u)
    for s in range(m):
        j = support[s]
        moved = w[j] + u[s]
        if not np.isfinite(u[s]) or ((l1[j] > 0.0 or positive) and moved * signs[s] < 0.0):
            return
    for s in range(m):
        w[support[s]] += u[s]
    subtract_products(G, support, m, u, g)


def _follow(G, q, w, g, l0, l1, l2, support, signs, m, inverse, positive, events):
    """Move w to the optimum at the penalty ``l1``; give (size of the support, events).

    ``support`` (m of it) and ``inverse``, its lower triangle row after row, hold what an earlier
    call left.
    Fewer events than asked and a t of 1 mean success; the caller measures the gap in any case.
    """
    k, room = w.shape[0], support.shape[0]
    low, dlow = np.empty(k), np.empty(k)
    c, dc, e = np.empty(k), np.empty(k), np.zeros(k)
    entered = np.zeros(k, np.int8)
    z, column, u = np.zeros(k), np.empty(k), np.empty(k)
    for j in range(k):
        c[j] = g[j] - l2[j] * w[j]
        low[j] = max(l0[j], c[j] if positive else abs(c[j]))
    for s in range(m):
        j = support[s]
        entered[j] = 1
        # the linear term that makes w optimal with its signs
        low[j] = l0[j]
        e[j] = l0[j] * signs[s] - c[j]
        c[j] += e[j]
    for j in range(k):
        dlow[j] = l1[j] - low[j]
    t, count = 0.0, 0
    while count < events:
        # what each change adds to z is cheap and drifts
        if count % FRESH == 0:
            direct(inverse, support, signs, m, e, dlow, column, z)
        for j in range(k):
            dc[j] = -e[j]
        subtract_products(G, support, m, z, dc)
        step, feature = shortfall(c, dc, low, dlow, entered, positive, 1.0 - t)
        at = -1
        for s in range(m):
            j = support[s]
            if z[s] * signs[s] < 0.0 and (l1[j] > 0.0 or positive):
                reach = max(0.0, -w[j] / z[s]) if w[j] * signs[s] > 0.0 else 0.0
                if reach < step:
                    step, at = reach, s
        for s in range(m):
            w[support[s]] += step * z[s]
        for j in range(k):
            c[j] += step * dc[j]
            low[j] += step * dlow[j]
        t += step
        if at >= 0:
            j = support[at]
            w[j] = 0.0
            c[j] = low[j] * signs[at]
            entered[j] = 0
            leave(inverse, support, signs, z, m, at, u)
            m -= 1
            for i in range(k):
                if entered[i] == 2:
                    entered[i] = 0
        elif feature >= 0:
            if m == room:
                break
            sign = 1.0 if c[feature] > 0.0 else -1.0
            rate = -e[feature] - dlow[feature] * sign
            if join(G, l2, support, signs, z, m, inverse, feature, sign, rate, column, u) > 0.0:
                entered[feature] = 1
                m += 1
            else:
                # it depends on the support: what it gains, the others lose, and X w stays
                at, reach = first_zero(w, support, signs, m, u, sign)
                entered[feature] = 2
                if at >= 0:
                    for s in range(m):
                        w[support[s]] -= reach * sign * u[s]
                    out = support[at]
                    w[out], c[out], entered[out] = 0.0, low[out] * signs[at], 0
                    leave(inverse, support, signs, z, m, at, u)
                    m -= 1
                    left = join(
                        G, l2, support, signs, z, m, inverse, feature, sign, rate, column, u
                    )
                    if left > 0.0:
                        w[feature] = reach * sign
                        entered[feature] = 1
                        m += 1
        else:
            break
        count += 1
    refine(G, q, w, g, l1, l2, support, signs, m, inverse, positive, column, u)
    return m, count


follow = Kernel(_follow)

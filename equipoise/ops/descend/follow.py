"""Follow the exact solution on cross products as the penalty changes: parametric active set.

For t from 0 to 1 the problem is ½ wᵀG w − (q + (1 − t) e)ᵀw + Σ λ(t)|w| + ½ Σ μ w², with λ(t)
linear.  e and λ(0) are such that the given w is optimal at t = 0; at t = 1 the problem is the
one that was asked.  Between two changes of the support w is linear in t.  The inverse on the
support is kept, and each change costs a rank-one update.  (Osborne, Presnell and Turlach 2000;
Efron et al. 2004; Ferreau, Bock and Diehl 2008.)
"""

import numpy as np

from equipoise.ops.descend.gram import axpy, dot
from equipoise.ops.jit import Kernel, fast, inline

# a column that keeps less than this share of its square beside the support depends on it
DEPENDENT = 1e-11


@inline
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
            G[support[s], :k], G[support[s + 1], :k], G[support[s + 2], :k],
            G[support[s + 3], :k], z[s], z[s + 1], z[s + 2], z[s + 3], out,
        )  # fmt: skip
        s += 4
    while s < m:
        axpy(z[s], G[support[s], :k], out)
        s += 1


@inline
def enter(G, l2, support, m, inverse, j, column, u):
    """Extend the inverse by feature j; give what it keeps beside the support, 0 if dependent."""
    for s in range(m):
        column[s] = G[j, support[s]]
    for s in range(m):
        u[s] = dot(inverse[s, :m], column[:m])
    whole = G[j, j] + l2[j]
    left = whole - dot(u[:m], column[:m])
    if not left > DEPENDENT * whole:
        return 0.0
    factor = 1.0 / left
    for s in range(m):
        axpy(-u[s] * factor, u[:m], inverse[s, :m])
        inverse[s, m] = -u[s] * factor
        inverse[m, s] = -u[s] * factor
    inverse[m, m] = factor
    support[m] = j
    return left


@inline
def leave(inverse, support, signs, m, at, u):
    """Take the feature at place ``at`` out of the inverse; the last one moves there."""
    for s in range(m):
        u[s] = inverse[at, s]
    factor = 1.0 / u[at]
    for s in range(m):
        axpy(u[s] * factor, u[:m], inverse[s, :m])
    last = m - 1
    for s in range(m):
        inverse[at, s] = inverse[last, s]
    for s in range(m):
        inverse[s, at] = inverse[s, last]
    support[at] = support[last]
    signs[at] = signs[last]


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


def _follow(G, w, g, l0, l1, l2, support, signs, m, inverse, positive, events):
    """Move w to the optimum at the penalty ``l1``; give (size of the support, events).

    ``support`` (m of it) and ``inverse`` hold what an earlier call left.  Fewer events than asked
    and a t of 1 mean success; the caller measures the gap in any case.
    """
    k = w.shape[0]
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
        # the step on the support
        for s in range(m):
            column[s] = -e[support[s]] - dlow[support[s]] * signs[s]
        for s in range(m):
            z[s] = dot(inverse[s, :m], column[:m])
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
            leave(inverse, support, signs, m, at, u)
            m -= 1
            for i in range(k):
                if entered[i] == 2:
                    entered[i] = 0
        elif feature >= 0:
            left = enter(G, l2, support, m, inverse, feature, column, u)
            if left > 0.0:
                entered[feature] = 1
                signs[m] = 1.0 if c[feature] > 0.0 else -1.0
                m += 1
            else:
                # it depends on the support: what it gains, the others lose, and X w stays
                sign = 1.0 if c[feature] > 0.0 else -1.0
                at, reach = first_zero(w, support, signs, m, u, sign)
                entered[feature] = 2
                if at >= 0:
                    for s in range(m):
                        w[support[s]] -= reach * sign * u[s]
                    out = support[at]
                    w[out], c[out], entered[out] = 0.0, low[out] * signs[at], 0
                    leave(inverse, support, signs, m, at, u)
                    m -= 1
                    if enter(G, l2, support, m, inverse, feature, column, u) > 0.0:
                        w[feature] = reach * sign
                        entered[feature] = 1
                        signs[m] = sign
                        m += 1
        else:
            break
        count += 1
    return m, count


follow = Kernel(_follow)

"""Ridge in closed form: by the Gram matrix, or by a triangle of X; `kernel` has the matrix X Xᵀ.

With X̃ and ỹ centred and weighted and D the penalty factors, the coefficients b solve

    (X̃ᵀ X̃ + α D) b = X̃ᵀ ỹ        or, with c of one entry a row,      (X̃ D⁻¹ X̃ᵀ + α) c = ỹ

Features with factor 0 are projected out of the rest, those with an infinite one are left out.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

# reciprocal condition numbers below which a factor of the Gram matrix has lost a third of its
# digits, and all of them
ROUGH, SINGULAR = 1e-5, 1e-13
# as many alphas cost as much by Cholesky as one eigendecomposition does for all
MANY = 8


class Factors(NamedTuple):
    """What each feature pays: coefficients b = scale c, with ‖c‖² penalised.

    Attributes
    ----------
    scale : float64 (p,)
        1 / √D where a feature pays; 1 where it is free; 0 where it is out.
    paid, free : int64 (...)
        The features that pay, and those that are free.
    """

    scale: np.ndarray
    paid: np.ndarray
    free: np.ndarray

    @classmethod
    def of(cls, weights, std, p: int) -> "Factors":
        """Combine ``penalty_weights`` and standard deviations; None for all ones."""
        D = np.ones(p) if weights is None else weights
        root = np.sqrt(D) if std is None else np.sqrt(D) * std
        with np.errstate(divide="ignore"):
            scale = np.where(D == 0, 1.0, 1.0 / root)
        return cls(scale, np.flatnonzero((D > 0) & (scale > 0)), np.flatnonzero(D == 0))

    @property
    def plain(self) -> bool:
        """Tell that every feature pays the same."""
        return len(self.paid) == len(self.scale) and bool((self.scale == 1).all())

    @property
    def kernel_scale(self):
        """Scale with 0 for what is no part of the penalised columns; None where plain."""
        if self.plain:
            return None
        scale = np.zeros_like(self.scale)
        scale[self.paid] = self.scale[self.paid]
        return scale

    def penalty(self, B, alphas):
        """Give α D b, zero for what is free or out."""
        out = np.zeros_like(B)
        out[self.paid] = B[self.paid] * alphas / self.scale[self.paid, None] ** 2
        return out


class Reduced:
    """Normal equations of the features that pay, the free ones projected out.

    ``gram`` (r, r) is scaled and ready for + α; `right` brings a right-hand side (p, q) along,
    `back` a solution.
    """

    def __init__(self, G, factors: Factors):
        self.factors, self.p = factors, len(G)
        P, F = factors.paid, factors.free
        self.scale = factors.scale[P]
        self.gram = G if factors.plain else G[np.ix_(P, P)]
        if len(F):
            self.cross = G[np.ix_(F, P)]
            self.inverse = pseudo_inverse(G[np.ix_(F, F)])
            self.share = self.inverse @ self.cross
            self.gram = self.gram - self.cross.T @ self.share
        if not factors.plain:
            self.gram = self.gram * self.scale[:, None] * self.scale

    def right(self, xy):
        """Give the right-hand side of the reduced equations."""
        if self.factors.plain:
            return xy
        out = xy[self.factors.paid]
        if len(self.factors.free):
            out = out - self.share.T @ xy[self.factors.free]
        return out * self.scale[:, None]

    def back(self, c, xy):
        """Give the coefficients (p, q) from a solution of the reduced equations."""
        if self.factors.plain:
            return c
        b = np.zeros((self.p, c.shape[1]))
        b[self.factors.paid] = c * self.scale[:, None]
        if len(self.factors.free):
            moved = self.cross @ b[self.factors.paid]
            b[self.factors.free] = self.inverse @ (xy[self.factors.free] - moved)
        return b


def pseudo_inverse(A):
    """Invert a positive semidefinite matrix where it is not zero, whatever its columns' scales."""
    d = np.sqrt(np.maximum(A.diagonal(), 0.0))
    d[d == 0] = 1.0
    return np.linalg.pinv(A / d[:, None] / d, rcond=1e-12, hermitian=True) / d[:, None] / d


class Cholesky:
    """A factor of A + α with rows and columns scaled to a unit diagonal; rcond says its worth."""

    def __init__(self, A, alpha: float, overwrite=False):
        lapack: Any = linalg.lapack
        float32 = A.dtype == np.float32
        potrf, self.potrs, pocon = (
            (lapack.spotrf, lapack.spotrs, lapack.spocon)
            if float32
            else (lapack.dpotrf, lapack.dpotrs, lapack.dpocon)
        )
        diagonal = A.diagonal() + A.dtype.type(alpha)
        self.rcond = 0.0
        # LAPACK complains of matrices of nothing
        if not len(A) or not (diagonal > 0).all():
            return
        self.d = 1 / np.sqrt(diagonal)
        A = np.multiply(A, self.d[:, None], out=A if overwrite else None)
        A *= self.d
        np.fill_diagonal(A, 1.0)
        # the norm of 1 of a matrix whose entries are at most 1
        norm = np.linalg.norm(A, 1) if len(A) < 1024 else float(len(A))
        self.factor, info = potrf(A.T, lower=False, clean=False, overwrite_a=True)
        if info == 0:
            self.rcond = float(pocon(self.factor, norm)[0])

    def solve(self, B):
        """Solve for the columns of B, in B's dtype."""
        right = np.asfortranarray(B * self.d[:, None], dtype=self.factor.dtype)
        x, _ = self.potrs(self.factor, right, lower=False, overwrite_b=True)
        return x * self.d[:, None]


def each_alpha(alphas):
    """Give each distinct alpha with the targets that have it."""
    return [(float(a), np.flatnonzero(alphas == a)) for a in np.unique(alphas)]


def by_gram(G, xy, factors: Factors, alphas, design: Any = None, target: Any = None):
    """Solve the normal equations; give (coefficients (p, q), how).

    Parameters
    ----------
    G, xy : float64 (p, p), (p, q)
        X̃ᵀX̃ and X̃ᵀỹ.
    alphas : float64 (q,)
    design, target : Design and a function that gives ỹ (n, q), optional
        What G came from, without scale: where G is ill-conditioned, one pass over the rows a step
        brings back the digits that its squares lost, or a QR replaces it.
    """
    reduced = Reduced(G, factors)
    right = reduced.right(xy)
    if len(np.unique(alphas)) > MANY:
        values, V = spectrum(reduced.gram)
        return reduced.back(filtered(values, V, right, alphas), xy), "eigen"
    out, how = np.zeros_like(xy), "cholesky"
    for alpha, targets in each_alpha(alphas):
        factor = Cholesky(reduced.gram, alpha)

        def solve(rhs, factor=factor):
            return reduced.back(factor.solve(reduced.right(rhs)), rhs)

        good = factor.rcond > ROUGH
        if factor.rcond > SINGULAR:
            out[:, targets] = solve(xy[:, targets])
            if not good and design is not None:
                y = target()[:, targets]
                good = _refine(out, targets, solve, design, y, factors, alpha)
        if good or (design is None and factor.rcond > SINGULAR):
            continue
        if design is not None:
            how = "svd"
            out[:, targets] = by_triangle(design, target()[:, targets], factors, alpha)
        else:
            how = "eigen"
            values, V = spectrum(reduced.gram)
            c = filtered(values, V, right[:, targets], np.full(len(targets), alpha))
            out[:, targets] = reduced.back(c, xy[:, targets])
    return out, how


def _refine(out, targets, solve, design, y, factors, alpha) -> bool:
    """Improve ``out[:, targets]`` by residuals taken from X; tell whether they became small."""
    last = np.inf
    for _ in range(8):
        b = out[:, targets]
        step = solve(design.normal_residual(b, y) - factors.penalty(b, alpha))
        size = np.linalg.norm(step) / max(np.linalg.norm(b), 1e-300)
        if not size < 0.5 * last:
            return bool(last < 1e-10)
        out[:, targets] += step
        if size < 1e-13:
            return True
        last = size
    return bool(last < 1e-10)


def spectrum(A):
    """Give eigenvalues and vectors; what rounding made negative is zero."""
    values, V = np.linalg.eigh(A)
    return np.maximum(values, 0.0), V


def inverse_filter(values, alphas, cut=None):
    """Give 1 / (λ + α), (r, len(alphas)); 0 where α is 0 and λ is zero up to rounding."""
    if cut is None:
        cut = np.finfo(np.float64).eps * max(len(values), 1) * values.max(initial=0.0)
    total = values[:, None] + alphas
    dead = (np.asarray(alphas) == 0) & (values[:, None] <= cut)
    return np.where(dead, 0.0, 1.0 / np.where(total > 0, total, 1.0))


def filtered(values, V, right, alphas):
    """Solve by eigenvalues and vectors for the columns of ``right`` and their alphas."""
    return V @ ((V.T @ right) * inverse_filter(values, alphas))


def by_triangle(design, target, factors: Factors, alpha: float):
    """Solve through a QR of X̃ and an SVD of its triangle: the digits of X̃, not of its square.

    For n < p the triangle is that of X̃ᵀ, and free features are projected out first.
    """
    if design.n < design.p and not len(factors.free):
        return _by_wide_triangle(design, target, factors, alpha)
    p, q = design.p, target.shape[1]
    R = design.triangle(target)
    R = np.concatenate([R, np.zeros((max(0, p + q - len(R)), p + q))])
    order = np.concatenate([factors.free, factors.paid])
    f = len(factors.free)
    R, r = np.linalg.qr(R[:, order]), R[:, p:]
    Q, R = R
    r = Q.T @ r
    U, s, Vt = np.linalg.svd(R[f:, f:] * factors.scale[factors.paid], full_matrices=False)
    cut = (np.finfo(np.float64).eps * max(design.n, p) * s.max(initial=0.0)) ** 2
    weight = s * inverse_filter(s * s, np.array([alpha]), cut)[:, 0]
    b = np.zeros((p, q))
    b[factors.paid] = factors.scale[factors.paid, None] * (Vt.T @ (weight[:, None] * (U.T @ r[f:])))
    if f:
        left = r[:f] - R[:f, f:] @ b[factors.paid]
        b[factors.free] = np.linalg.lstsq(R[:f, :f], left, rcond=None)[0]
    return b


def _by_wide_triangle(design, target, factors, alpha):
    scale = factors.kernel_scale
    wide = design.scaled(scale)
    U, s, _ = np.linalg.svd(wide.triangle().T, full_matrices=False)
    # without a direction that is rounding of X the gradient is off by rounding; X̃ᵀu / α is not
    kept = s > np.finfo(np.float64).eps * design.p * s.max(initial=0.0)
    weight = np.divide(1.0, s * s + alpha, out=np.zeros_like(s), where=kept)[:, None]
    b = wide.tdot(U @ (weight * (U.T @ target)))
    return b if scale is None else b * scale[:, None]

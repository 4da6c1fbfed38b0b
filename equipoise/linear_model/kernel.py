"""Ridge with one unknown a row, for n < p: the kernel matrix, factored or as a preconditioner."""

from typing import Any

import numpy as np

from equipoise.linear_model.blocks import one_blas_thread
from equipoise.linear_model.design import in_one_piece
from equipoise.linear_model.exact import (
    MANY,
    ROUGH,
    SINGULAR,
    Cholesky,
    Factors,
    by_triangle,
    each_alpha,
    filtered,
    spectrum,
)
from equipoise.linear_model.iterate import conjugate_gradients

# rows from which a kernel matrix in float32 and a few passes over X beat one in float64
HALF = 1000
# targets up to which X is read where it lies, once for each, faster than it is copied for all
FEW = 8


class Kernel:
    """K = X̃ D⁻¹ X̃ᵀ of the features that pay, orthogonal to the intercept and the free ones.

    ``matrix`` has the mean eigenvalue added along those directions, where c has no part, or with
    ``apart`` more than the largest.  ``few`` promises products with few vectors at a time.
    ``rough`` is what K is made from, in place of X.
    """

    def __init__(
        self, design, factors: Factors, centred: bool, dtype: Any = np.float64, apart=False,
        few=False, rough: Any = None,
    ):  # fmt: skip
        self.factors, self.plain, self.few = factors, design, few
        self.design = design.scaled(factors.kernel_scale)
        self.free = np.empty((design.n, 0))
        ones = np.ones(design.n) if design.root is None else design.root
        if len(factors.free):
            self.free = design.columns_block(factors.free)
        basis = [ones[:, None] / np.linalg.norm(ones)] if centred else []
        columns = np.concatenate([*basis, self.free], 1)
        self.Q = _basis(columns) if columns.shape[1] else None
        K = self.design.kernel(dtype) if rough is None else rough
        self._allow_direct(K)
        if self.Q is not None:
            with one_blas_thread():
                _project_out(K, self.Q.astype(dtype), apart)
        self.matrix = K

    def _allow_direct(self, K):
        """Multiply X as it lies from here on, where its offset costs no more than two digits."""
        squares = (
            self.design.offset
            if self.design.scale is None
            else (self.design.offset * self.design.scale)
        )
        root = self.design.root
        weight = self.design.n if root is None else root @ root
        small = weight * float(squares @ squares) <= 100 * float(np.trace(K))
        X = self.design.X
        if small and self.few and self.design.rows is None and in_one_piece(X):
            self.design.direct = True

    def project(self, v):
        """Take the intercept and the free features out of v (n, q)."""
        return v if self.Q is None else v - self.Q @ (self.Q.T @ v)

    def coefficients(self, c, target):
        """Give b (p, q) from c (n, q)."""
        b = self.design.tdot(c)
        if self.design.scale is not None:
            b *= self.design.scale[:, None]
        if len(self.factors.free):
            left = target - self.design.kernel_dot(c)
            b[self.factors.free] = np.linalg.lstsq(self.free, left, rcond=None)[0]
        return b


def _project_out(K, Q, apart, step=256):
    """Take Q out of K on both sides and add the mean eigenvalue there, or 4 times a bound of all.

    A few rows of K at a time: what changes them stays in the cache.
    """
    half = K @ Q
    # twice: what is left of Q after once is rounding of K itself
    left = np.concatenate([Q, half - Q @ (Q.T @ half)], 1)
    right = np.concatenate([half, Q], 1).T
    size = np.zeros(len(K), K.dtype)
    for i in range(0, len(K), step):
        K[i : i + step] -= left[i : i + step] @ right
        if apart:
            size[i : i + step] = abs(K[i : i + step]).sum(1)
    ridge = float(4 * size.max() if apart else np.trace(K) / max(len(K), 1)) or 1.0
    for i in range(0, len(K), step):
        K[i : i + step] += ridge * Q[i : i + step] @ Q.T


def _basis(columns):
    """Give an orthonormal basis of some columns, whatever their scales."""
    norms = np.linalg.norm(columns, axis=0)
    U, s, _ = np.linalg.svd(columns / np.where(norms > 0, norms, 1.0), full_matrices=False)
    return U[:, s > 1e-12 * s.max(initial=1e-300)]


def by_kernel(design, target, factors: Factors, alphas, centred: bool):
    """Solve with one unknown a row, for n < p; give (coefficients (p, q), how)."""
    several, few = len(np.unique(alphas)) > 1, target.shape[1] <= FEW
    if design.n >= HALF and not several and not design.sparse:
        rough = design.scaled(factors.kernel_scale).rough_kernel()
        for K in [None] if rough is None else [rough, None]:
            kernel = Kernel(design, factors, centred, np.float32, few=few, rough=K)
            c = _preconditioned(kernel, target, float(alphas[0]), hasty=K is not None)
            if c is not None:
                return kernel.coefficients(c, target), "cholesky"
    kernel = Kernel(design, factors, centred, few=few)
    y = kernel.project(target)
    c, how = np.zeros_like(y), "cholesky"
    if len(np.unique(alphas)) > MANY:
        values, U = spectrum(kernel.matrix)
        return kernel.coefficients(filtered(values, U, y, alphas), target), "eigen"
    lost = []
    for alpha, targets in each_alpha(alphas):
        factor = Cholesky(kernel.matrix, alpha)
        if factor.rcond > SINGULAR:
            c[:, targets] = factor.solve(y[:, targets])
            if factor.rcond > ROUGH:
                continue
            found = _preconditioned(kernel, target[:, targets], alpha, factor)
            c[:, targets] = c[:, targets] if found is None else found
            if not _loses(kernel, c[:, targets], y[:, targets]):
                continue
        if len(factors.free):
            values, U = spectrum(kernel.matrix)
            c[:, targets] = filtered(values, U, y[:, targets], np.full(len(targets), alpha))
            how = "eigen"
        else:
            lost.append((alpha, targets))
    b = kernel.coefficients(kernel.project(c), target)
    for alpha, targets in lost:
        b[:, targets], how = by_triangle(design, target[:, targets], factors, alpha), "svd"
    return b, how


def _loses(kernel: Kernel, c, y) -> bool:
    """Tell whether c is so large that rounding in X̃ᵀ c is more than that of a few sums over X̃."""
    design = kernel.design
    size = np.trace(kernel.matrix) * np.linalg.norm(c, axis=0)
    return bool((size > 10 * (design.n + design.p) * np.linalg.norm(y, axis=0)).any())


def _preconditioned(
    kernel: Kernel, target, alpha: float, factor: Cholesky | None = None, hasty=False
):
    """Solve (K + α) c = ỹ by conjugate gradients on X̃ itself, a factor of K as preconditioner.

    The factor may be in float32: an iteration costs one pass over X, and the answer has the
    digits of X.  None where that does not get there, or with ``hasty`` seems not to.
    """
    factor = factor or Cholesky(kernel.matrix, alpha, overwrite=True)
    if not factor.rcond > (1e-5 if factor.d.dtype == np.float32 else SINGULAR):
        return None

    def apply(v):
        return kernel.project(kernel.design.kernel_dot(v)) + alpha * v

    def precondition(v):
        return kernel.project(factor.solve(v).astype(np.float64))

    y = kernel.project(target)
    # X in float32 has no more digits to give
    rtol = 1e-13 if kernel.design.X.dtype == np.float64 else 1e-9
    c, iterations = conjugate_gradients(apply, y, precondition, rtol=rtol, limit=12, hasty=hasty)
    return None if iterations is None else c

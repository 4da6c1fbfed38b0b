"""Ridge: least squares with squared penalties, exact at any shape."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, validate_data

from equipoise.linear_model.base import (
    FLOATS,
    Centring,
    LinearRegressor,
    check_finite,
    raw_weights,
)
from equipoise.linear_model.products import is_sparse
from equipoise.linear_model.ridge_fit import RidgeFit
from equipoise.linear_model.stream import FromStream

# sparse X with fewer rows or columns than this is solved exactly
EXACT = 4000
SOLVERS = ("auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs")


class Ridge(FromStream, MultiOutputMixin, LinearRegressor):
    """Linear least squares with a penalty on the squares of the coefficients.

    Minimises, with weights v of the rows (1) and factors f of the features (1),

        Σ_i v_i (y_i - x_iᵀ b - b₀)² + α Σ_j f_j b_j²

    Parameters
    ----------
    alpha : float or array (targets,)
        Strength α, at least 0; one for each target with an array.  0 is ordinary least squares,
        and warns.
    fit_intercept : bool
        Whether to fit b₀, which is not penalised.
    copy_X : bool
        Kept for scikit-learn's signature: X is neither copied nor changed.
    max_iter, tol : int or None, float
        For the iterative solvers, as in scikit-learn.
    solver : {'auto', 'svd', 'cholesky', 'lsqr', 'sparse_cg', 'sag', 'saga', 'lbfgs'}
        'auto' and 'cholesky' solve the Gram matrix, or for n < p the kernel matrix, and go on to
        refine the answer, or to a QR of X, where that has lost digits.  'auto' takes 'sparse_cg'
        for sparse X that is large both ways.  'svd' takes a QR and an SVD of its triangle; 'sag'
        and 'saga' are scikit-learn's own, on a centred copy of X.
    positive : bool
        Keep coefficients at 0 or above; exact by default, by L-BFGS-B with 'lbfgs'.
    random_state : int, RandomState or None
        For 'sag' and 'saga'.
    penalty_weights : array (p,), optional
        The factors f: 0 leaves a feature free, inf leaves it out.
    standardize : bool
        Penalise the coefficients of columns divided by their standard deviation (ddof 0), as
        glmnet does; ``coef_`` are those of X as it is.

    Attributes
    ----------
    coef_ : array (p,) or (targets, p), of X's dtype
    intercept_ : float or array (targets,)
    n_iter_ : array (targets,), or None
        Iterations; 1 for a direct solution by 'auto', None for one that was asked for, as in
        scikit-learn.
    solver_ : str
        The solver that ran, in scikit-learn's words; 'eigen' where a Gram or kernel matrix was
        singular.
    solver_info_ : dict
        ``solver``, ``why``: which solver ran and why.

    Raises
    ------
    ValueError
        X or y hold NaN or infinity, shapes disagree, alpha is negative, or all weights are zero.

    Notes
    -----
    Sums are kept in float64 for float32 X too.  Apart from the matrix that is factored (the
    smaller of n × n and p × p), memory stays under a fifth of X.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import Ridge
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]), np.array([1.0, 2.0, 5.0])
    >>> Ridge(alpha=1.0).fit(X, y).coef_.round(4)
    array([1.125, 0.625])
    """

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "fit_intercept": ["boolean"],
        "copy_X": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions(set(SOLVERS))],
        "positive": ["boolean"],
        "random_state": ["random_state"],
        "penalty_weights": ["array-like", None],
        "standardize": ["boolean"],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        copy_X=True,
        max_iter=None,
        tol=1e-4,
        solver="auto",
        positive=False,
        random_state=None,
        penalty_weights=None,
        standardize=False,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state
        self.penalty_weights = penalty_weights
        self.standardize = standardize

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix (n, p)
            float32 and float64 in C or Fortran order, and CSR, are read where they lie.
            With ``y`` a name, any source that `equipoise.data.chunks` takes: files, frames,
            streams, a Ray dataset; read once, in bounded memory.
        y : array (n,) or (n, targets), or the name of the source's target column
        sample_weight : None, number or array (n,)
            How much each row counts, which is also how often.

        Returns
        -------
        self
        """
        if hasattr(self, "comoments_"):
            del self.comoments_
        if isinstance(y, str):
            return self._fit_source(X, y, sample_weight)
        X, y, weights = check_ridge(self, X, y, sample_weight)
        matrix = y.reshape(len(y), -1).astype(np.float64, copy=False)
        alphas = check_alphas(self.alpha, matrix.shape[1])
        solver, why = self._choose(X)
        fit = RidgeFit(self, X, matrix, weights)
        coef, self.solver_, self.n_iter_ = fit.run(solver, alphas)
        if self.solver == "auto" and self.n_iter_ is None:
            self.n_iter_ = np.ones(matrix.shape[1], np.int32)
        self.solver_info_ = {"solver": self.solver_, "why": why}
        set_solution(self, coef, fit.offset, fit.y_offset, y.ndim, X.dtype)
        return self

    def _fit_from_comoments(self, comoments, dtype):
        """Solve the normal equations that are there already."""
        if self.solver not in ("auto", "cholesky"):
            raise ValueError(
                f"solver='{self.solver}' needs the rows themselves; a fit from a stream keeps "
                "their cross products only. Use solver='auto'."
            )
        p, targets = comoments._features, comoments._targets
        alphas = check_alphas(self.alpha, targets[0] if targets else 1)
        fit = RidgeFit(self, np.empty((0, p)), np.empty((0, len(alphas))))
        coef, self.solver_ = fit.by_state(comoments._state(), alphas)
        self.n_iter_ = np.ones(len(alphas), np.int32)
        why = "a direct solution by the Gram matrix of the stream"
        self.solver_info_ = {"solver": self.solver_, "why": why}
        set_solution(self, coef, fit.offset, fit.y_offset, 1 + len(targets), dtype)

    def _choose(self, X):
        """Give the solver to run, and why."""
        solver, sparse = self.solver, is_sparse(X)
        if solver == "lbfgs" and not self.positive:
            raise ValueError(
                "'lbfgs' solver can be used only when positive=True. Please use another solver."
            )
        if self.positive and solver not in ("auto", "lbfgs"):
            raise ValueError(
                f"solver='{solver}' does not support positive fitting. Please set the solver to "
                "'auto' or 'lbfgs', or set `positive=False`"
            )
        if sparse and self.fit_intercept and solver in ("svd", "cholesky", "saga"):
            raise ValueError(
                f"solver='{solver}' does not support fitting the intercept on sparse data. Please "
                "set the solver to 'auto' or 'lsqr', 'sparse_cg', 'sag', 'lbfgs' or set "
                "`fit_intercept=False`"
            )
        if sparse and solver == "svd":
            raise TypeError("solver='svd' does not take sparse X; use 'auto' or 'sparse_cg'")
        if sparse and self.fit_intercept and solver == "sag":
            self._warn_of_sag()
        if solver != "auto":
            return solver, "it was asked for"
        if self.positive:
            return "positive", "positive=True: an active set on the Gram matrix"
        if sparse and min(X.shape) > EXACT:
            return "sparse_cg", f"sparse X with more than {EXACT} rows and columns"
        side = "the kernel matrix, n < p" if X.shape[0] < X.shape[1] else "the Gram matrix, n >= p"
        return "cholesky", f"a direct solution by {side}"

    def _warn_of_sag(self):
        if self.max_iter is None and self.tol > 1e-4:
            warnings.warn(
                '"sag" solver requires many iterations to fit an intercept with sparse inputs. '
                'Either set the solver to "auto" or "sparse_cg", or set a low "tol" and a high '
                '"max_iter" (especially if inputs are not standardized).',
                UserWarning,
                stacklevel=5,
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.solver != "svd" and (
            self.solver != "cholesky" or not self.fit_intercept
        )
        return tags


def set_solution(model, coef, offset, y_offset, y_ndim, dtype):
    """Hand coefficients (p, q) to ``model`` in scikit-learn's shapes."""
    coef = coef[:, 0] if coef.shape[1] == 1 else coef.T
    y_offset = y_offset if y_ndim == 2 else y_offset[0]
    model._set_coef(coef, Centring(offset, np.ones(len(offset)), y_offset), dtype)


def check_ridge(estimator, X, y, sample_weight):
    """Check what ``fit`` got: give X (dense, or CSR) in float32 or float64, y, and weights.

    X may hold NaN or infinity still: the first pass over it finds them.
    """
    checked: Any = validate_data(
        estimator, X, y, accept_sparse=["csr", "csc", "coo"], dtype=FLOATS, multi_output=True,
        y_numeric=True, ensure_all_finite=False,
    )  # fmt: skip
    X, y = checked
    floats: Any = FLOATS
    y = check_array(y, dtype=floats, ensure_2d=False, input_name="y", estimator=estimator)
    if y.ndim > 2:
        raise ValueError(f"y must be (rows,) or (rows, targets); got shape {y.shape}")
    if is_sparse(X):
        check_finite(estimator, X)
        X = X.tocsr()
    return X, y, raw_weights(X, sample_weight)


def check_alphas(alpha, targets: int):
    """Give one alpha a target as float64 (targets,)."""
    alphas = np.asarray(alpha, np.float64).ravel()
    if len(alphas) not in (1, targets):
        raise ValueError(
            "Number of targets and number of penalties do not correspond: "
            f"{len(alphas)} != {targets}. Give one alpha, or one for each target."
        )
    if not (alphas >= 0).all() or not np.isfinite(alphas).all():
        raise ValueError(f"alpha must be finite and at least 0; got {alphas.min()}")
    if (alphas == 0).any():
        warnings.warn(
            "alpha=0 is ordinary least squares: nothing holds coefficients of near-duplicate "
            "columns back, and with more columns than rows the fit is the smallest of many. Take "
            "a small alpha, or sklearn.linear_model.LinearRegression.",
            UserWarning,
            stacklevel=5,
        )
    return np.broadcast_to(alphas, targets)

"""The coefficients of Ridge at many alphas, from one decomposition."""

import numpy as np

from equipoise.linear_model.loo import TallLOO, WideLOO
from equipoise.linear_model.ridge import Ridge, check_ridge
from equipoise.linear_model.ridge_cv import check_grid
from equipoise.linear_model.ridge_fit import RidgeFit


def ridge_path(
    X,
    y,
    *,
    alphas,
    fit_intercept=True,
    sample_weight=None,
    penalty_weights=None,
    standardize=False,
):
    """Give the coefficients of Ridge at many alphas, from one eigendecomposition.

    Parameters
    ----------
    X : array or sparse matrix (n, p)
    y : array (n,) or (n, targets)
    alphas : array (alphas,)
        At least 0.
    fit_intercept, sample_weight, penalty_weights, standardize :
        As of `Ridge`.

    Returns
    -------
    alphas : float64 (alphas,)
    coefs : float64 (p, alphas), or (targets, p, alphas)

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import ridge_path
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]), np.array([1.0, 2.0, 5.0])
    >>> ridge_path(X, y, alphas=[1.0, 0.0])[1].round(4)
    array([[1.125 , 1.6667],
           [0.625 , 0.6667]])
    """
    model = Ridge(
        fit_intercept=fit_intercept, penalty_weights=penalty_weights, standardize=standardize
    )
    alphas = check_grid(np.atleast_1d(alphas).tolist(), "any")
    X, y, weights = check_ridge(model, X, y, sample_weight)
    fit = RidgeFit(model, X, y.reshape(len(y), -1).astype(np.float64), weights)
    coefs = (TallLOO(fit) if fit.n >= fit.p else WideLOO(fit)).coefficients(alphas)
    return alphas, coefs[:, 0] if y.ndim == 1 else coefs.transpose(1, 0, 2)

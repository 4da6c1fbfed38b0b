"""scikit-learn's contract: its estimator checks, whole, and the classic snippet."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_regression
from sklearn.exceptions import SkipTestWarning
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import check_estimator

from equipoise import linear_model

NAMES = ("Lasso", "ElasticNet", "LassoCV", "ElasticNetCV", "GroupLasso")


@pytest.mark.parametrize("name", NAMES)
def test_passes_every_check_of_scikit_learn(name):
    with warnings.catch_warnings():
        # checks of containers that are not installed say so
        warnings.simplefilter("ignore", SkipTestWarning)
        found = check_estimator(getattr(linear_model, name)(), on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in found if r["status"] == "failed"}
    assert failed == {}
    assert sum(r["status"] == "passed" for r in found) > 30


def test_classic_snippet_runs_with_its_import_changed():
    X, y = make_regression(n_samples=100, n_features=20, noise=1.0, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    model = linear_model.Lasso(alpha=0.1).fit(X_train, y_train)
    assert mean_squared_error(y_test, model.predict(X_test)) < 0.01 * np.var(y_test)
    assert model.score(X_test, y_test) > 0.99

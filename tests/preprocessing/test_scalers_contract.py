"""scikit-learn's own checks of estimators, whole, for every scaler."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from equipoise.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    StandardScaler,
)

ESTIMATORS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(shared=True),
    MinMaxScaler(),
    MinMaxScaler((-1, 1), clip=True),
    MaxAbsScaler(),
]


@parametrize_with_checks(ESTIMATORS)
def test_check_estimator(estimator, check):
    check(estimator)

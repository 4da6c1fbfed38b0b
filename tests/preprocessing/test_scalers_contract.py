"""scikit-learn's own checks of estimators, whole, for every scaler."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from equipoise.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

ESTIMATORS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(shared=True),
    MinMaxScaler(),
    MinMaxScaler((-1, 1), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, unit_variance=True),
    Normalizer(),
    Normalizer("max"),
]


@parametrize_with_checks(ESTIMATORS)
def test_check_estimator(estimator, check):
    check(estimator)

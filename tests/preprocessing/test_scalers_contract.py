"""scikit-learn's own checks of estimators, whole, for every scaler; and what they leave out."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.utils._param_validation import InvalidParameterError
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


class Named(StandardScaler):
    """A user's own, with parameters that no table of constraints knows."""

    _parameter_constraints: ClassVar[dict] = {
        **StandardScaler._parameter_constraints,
        "note": "no_validation",
    }

    def __init__(self, *, copy=True, with_mean=True, with_std=True, columns=None, shared=False,
                 note=None, other=None):  # fmt: skip
        super().__init__(
            copy=copy, with_mean=with_mean, with_std=with_std, columns=columns, shared=shared
        )
        self.note, self.other = note, other


def test_parameters_of_a_subclass_are_checked_where_it_says_how():
    x = np.arange(6.0).reshape(3, 2)
    scaler = Named(note=object(), other=object()).fit(x)
    assert (scaler.mean_ == [2, 3]).all()
    for wrong in ({"copy": 1}, {"with_std": "no"}, {"columns": 3}):
        with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
            Named(**wrong).fit(x)


def test_a_matrix_after_a_frame_forgets_the_names():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    scaler = StandardScaler().fit(frame)
    with pytest.warns(UserWarning, match="feature names"):
        scaler.transform(frame.to_numpy())
    scaler.fit(frame.to_numpy())
    assert not hasattr(scaler, "feature_names_in_")
    assert scaler.n_features_in_ == 2
    with pytest.raises(ValueError, match="X has 3 features, but StandardScaler is expecting 2"):
        scaler.transform(np.ones((2, 3)))


@pytest.mark.parametrize("value", [1, 1.0, "yes", [True]])
def test_a_parameter_equal_to_one_that_was_allowed_is_still_checked(value):
    StandardScaler(copy=True).fit([[1.0], [2.0]])
    with pytest.raises(InvalidParameterError, match="'copy'"):
        StandardScaler(copy=value).fit([[1.0], [2.0]])

"""Bad input: what the message says, and that nothing is half done."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError

from equipoise.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)


def draw(rows=50):
    return np.random.default_rng(0).standard_normal((rows, 3))


def spoiled(value, rows=50):
    x = draw(rows)
    x[31, 2] = x[40, 1] = value
    return x


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("cls", [*SCALERS, Normalizer])
def test_an_infinity_is_named_by_column_and_row(cls, value):
    frame = pd.DataFrame(spoiled(value), columns=["a", "b", "c"])
    for given in (frame, pl.from_pandas(frame)):
        with pytest.raises(ValueError, match=r"infinity.*column 'c' holds -?inf in row 31"):
            cls().fit(given)
    for given in (spoiled(value), torch.from_numpy(spoiled(value))):
        with pytest.raises(ValueError, match=r"column 2 holds -?inf in row 31"):
            cls().fit(given)
        with pytest.raises(ValueError, match=r"column 2 holds -?inf in row 31"):
            cls().fit(draw()).transform(given)


@pytest.mark.parametrize("cls", SCALERS)
def test_nothing_is_overwritten_where_an_infinity_stands(cls):
    scaler = cls().fit(draw(20_000))
    for order in "CF":
        x = np.asarray(spoiled(np.inf, 20_000), order=order)
        before = x.copy()
        with pytest.raises(ValueError, match="infinity"):
            scaler.transform(x, copy=False)
        with pytest.raises(ValueError, match="infinity"):
            scaler.transform(x, out=x)
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("cls", SCALERS)
def test_a_failed_fit_leaves_the_scaler_as_it_was(cls):
    scaler = cls()
    with pytest.raises(ValueError, match="infinity"):
        scaler.fit(spoiled(np.inf))
    assert not [name for name in vars(scaler) if name.endswith("_")]
    scaler.fit(draw())
    before = {k: v for k, v in vars(scaler).items() if k.endswith("_")}
    for bad in (spoiled(np.inf), np.full((4, 2), np.nan), [["a"]]):
        with pytest.raises(ValueError):
            scaler.fit(bad)
        assert {k: v for k, v in vars(scaler).items() if k.endswith("_")} == before or all(
            np.array_equal(before[k], vars(scaler)[k]) for k in before
        )


@pytest.mark.parametrize("cls", SCALERS)
def test_a_column_of_nan_alone_is_named(cls):
    x = draw()
    x[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN in column 1"):
        cls().fit(x)
    # a chunk may be so, as long as others are not
    scaler = cls().partial_fit(x).partial_fit(draw())
    assert np.isfinite(scaler.scale_).all()


@pytest.mark.parametrize("cls", SCALERS)
def test_strings_are_named_and_columns_is_suggested(cls):
    frame = pd.DataFrame({"x": [1.0, 2.0], "carrier": ["UA", "AA"]})
    for given in (frame, pl.from_pandas(frame), frame.astype({"carrier": "category"})):
        with pytest.raises(ValueError, match=r"'carrier'.*columns=\["):
            cls().fit(given)
    with pytest.raises(ValueError, match=r"Column 1, row 0 holds 'UA'.*columns="):
        cls().fit(frame.to_numpy())


@pytest.mark.parametrize("cls", SCALERS)
def test_columns_missing_or_reordered_at_transform(cls):
    frame = pd.DataFrame(draw(), columns=["a", "b", "c"])
    scaler = cls().fit(frame)
    for wrong in (frame[["b", "a", "c"]], frame[["a", "b"]]):
        for given in (wrong, pl.from_pandas(wrong)):
            with pytest.raises(ValueError, match="feature names"):
                scaler.transform(given)
    with pytest.raises(ValueError, match=r"X has 2 features.*expecting 3"):
        cls().fit(draw()).transform(draw()[:, :2])
    with pytest.raises(ValueError, match=r"X has 2 features.*expecting 3"):
        cls().fit(draw()).inverse_transform(draw()[:, :2])


@pytest.mark.parametrize("cls", SCALERS)
def test_what_is_empty_or_not_fitted(cls):
    with pytest.raises(NotFittedError):
        cls().transform(draw())
    with pytest.raises(ValueError, match="0 sample"):
        cls().fit(np.empty((0, 3)))
    with pytest.raises(ValueError, match="0 sample"):
        cls().fit(torch.empty(0, 3))
    with pytest.raises(ValueError, match="0 feature"):
        cls().fit(np.empty((3, 0)))
    with pytest.raises(ValueError, match=r"2D.*reshape"):
        cls().fit(torch.ones(3))


@pytest.mark.parametrize(
    "columns, error, match",
    [
        (["a", "z"], ValueError, "'z' is there 0 times"),
        (["a", "a"], ValueError, "each once"),
        ([], ValueError, "at least one"),
        ([5], ValueError, "within the 3 columns"),
        ([1.5], TypeError, "names or numbers"),
    ],
)
def test_columns_that_cannot_be(columns, error, match):
    frame = pd.DataFrame(draw(), columns=["a", "b", "c"])
    with pytest.raises(error, match=match):
        StandardScaler(columns=columns).fit(frame)


def test_columns_by_name_need_names():
    with pytest.raises(ValueError, match="without column names"):
        StandardScaler(columns=["a"]).fit(draw())


@pytest.mark.parametrize(
    "out, match",
    [
        (np.empty((50, 3), np.float32), "dtype float64"),
        (np.empty((49, 3)), "shape"),
        (torch.empty(50, 3), "must be an array"),
    ],
)
def test_out_must_fit(out, match):
    with pytest.raises(ValueError, match=match):
        StandardScaler().fit(draw()).transform(draw(), out=out)


def test_out_must_not_be_a_shifted_view():
    x = np.ones((51, 3))
    with pytest.raises(ValueError, match="shifted view"):
        StandardScaler().fit(draw()).transform(x[:-1], out=x[1:])


def test_weights_that_cannot_be():
    for weights, match in (
        (np.ones(49), "sample_weight.shape"),
        (np.full(50, -1.0), "not negative"),
        (np.zeros(50), "zero everywhere"),
        (np.ones((50, 1)), "1D"),
    ):
        for cls in (StandardScaler, RobustScaler):
            with pytest.raises(ValueError, match=match):
                cls().fit(draw(), sample_weight=weights)
    with pytest.raises(ValueError, match=r"add up to 2.*Multiply"):
        RobustScaler().fit(draw(), sample_weight=np.full(50, 0.02))


def test_sparse_is_refused_where_zeros_would_move():
    x = sparse.csr_matrix(np.eye(3))
    with pytest.raises(ValueError, match="with_mean=False"):
        StandardScaler().fit(x)
    with pytest.raises(ValueError, match="with_centering=False"):
        RobustScaler().fit(x)
    with pytest.raises(TypeError, match="MaxAbsScaler"):
        MinMaxScaler().fit(x)


def test_a_masked_array_is_refused():
    with pytest.raises(TypeError, match=r"masked.*filled"):
        StandardScaler().fit(np.ma.masked_invalid(draw()))


def test_a_range_beyond_float64_is_named():
    with pytest.raises(ValueError, match="column 0 is above"):
        MinMaxScaler().fit(np.array([[1.5e308], [-1.5e308]]))


def test_a_variance_beyond_float64_is_named():
    with pytest.raises(ValueError, match="column 0 is above"):
        StandardScaler().fit(np.array([[1e200], [-1e200]]))


def test_merge_needs_the_same_columns_and_parameters():
    a = StandardScaler().fit(draw())
    with pytest.raises(TypeError, match="own class"):
        a.merge(MinMaxScaler().fit(draw()))
    with pytest.raises(ValueError, match="number of columns"):
        a.merge(StandardScaler().fit(draw()[:, :2]))
    with pytest.raises(ValueError, match="parameters"):
        a.merge(StandardScaler(with_mean=False).fit(draw()))
    with pytest.raises(NotFittedError):
        a.merge(StandardScaler())


def test_an_exact_robust_fit_of_many_rows_cannot_go_on():
    scaler = RobustScaler().fit(draw(5000))
    with pytest.raises(ValueError, match="keeps no summary"):
        scaler.partial_fit(draw())
    with pytest.raises(ValueError, match="keeps no summary"):
        scaler.merge(scaler)


@pytest.mark.parametrize("cls", [*SCALERS, Normalizer])
def test_out_must_have_a_place_for_each_value(cls):
    x = 1 + np.abs(draw())
    scaler = cls().fit(x)
    shared = np.lib.stride_tricks.as_strided(np.zeros(52), x.shape, (8, 8))
    for given, out in (
        (x, shared),
        (torch.from_numpy(x), torch.zeros(1, 3).double().expand(50, 3)),
    ):
        with pytest.raises(ValueError, match=r"a place for each value.*contiguous"):
            scaler.transform(given, out=out)
    apart = np.zeros((3, 100)).T[::-2]
    np.testing.assert_array_equal(scaler.transform(x, out=apart), scaler.transform(x))


@pytest.mark.parametrize("cls", SCALERS)
def test_a_mask_of_no_column(cls):
    with pytest.raises(ValueError, match="at least one column"):
        cls(columns=[False] * 3).fit(draw())


@pytest.mark.parametrize("cls", SCALERS)
def test_columns_of_one_name_are_named(cls):
    with pytest.raises(ValueError, match="2 are named 'a': rename them"):
        cls().fit(pd.DataFrame(draw(), columns=["b", "a", "a"]))


@pytest.mark.parametrize("kind", ["M8[s]", "m8[s]"])
def test_dates_are_no_numbers(kind):
    # as floats NaT would be the number -9.2e18
    with pytest.raises(ValueError, match=r"must hold numbers; got an array of .*64\[s\]"):
        StandardScaler().fit(draw().astype(kind))


@pytest.mark.parametrize("pair", [("a", 1), (0, np.inf), (np.nan, 1), (0,), (1, 2, 3)])
def test_ranges_that_are_no_pairs_of_numbers(pair):
    with pytest.raises(ValueError, match="feature_range must be two finite numbers"):
        MinMaxScaler(feature_range=pair).fit(draw())
    with pytest.raises(ValueError, match="quantile_range must be two finite numbers"):
        RobustScaler(quantile_range=pair).fit(draw())


@pytest.mark.parametrize("pair", [(0, 100), (50, 50), (0, 60)])
def test_quantiles_that_a_normal_distribution_has_no_distance_of(pair):
    # scikit-learn's scale is 0 or infinite
    with pytest.raises(ValueError, match=r"quantile_range must have 0 < q_min < q_max < 100"):
        RobustScaler(quantile_range=pair, unit_variance=True).fit(draw())
    assert np.isfinite(RobustScaler(quantile_range=pair).fit(draw()).scale_).all()


def test_an_output_that_there_is_not():
    scaler = StandardScaler().set_output(transform="numpy").fit(draw())
    with pytest.raises(ValueError, match="set_output takes default, pandas, polars; got 'numpy'"):
        scaler.transform(draw())


@pytest.mark.parametrize("library", [pd, pl])
def test_a_series_is_no_matrix(library):
    with pytest.raises(ValueError, match=r"[Ee]xpected (a )?2"):
        StandardScaler().fit(library.Series([1.0, 2.0]))

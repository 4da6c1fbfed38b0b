"""`columns=` of names: found by name in whatever has names; numbers and masks: in their place."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from equipoise.preprocessing import MinMaxScaler, RobustScaler, StandardScaler, load

pa = pytest.importorskip("pyarrow", reason="tables come from pyarrow")

X = np.random.default_rng(0).normal([1.0, 20.0, -3.0], [1.0, 5.0, 0.1], size=(40, 3))
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
MAKE = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "table": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}
kinds = pytest.mark.parametrize("kind", MAKE)


def as_pandas(found):
    found = found.collect() if hasattr(found, "collect") else found
    return found.to_pandas() if hasattr(found, "to_pandas") else found


@kinds
@pytest.mark.parametrize("cls", [StandardScaler, MinMaxScaler, RobustScaler])
def test_named_columns_are_found_wherever_they_stand(cls, kind, tmp_path):
    scaler = cls(columns=["c", "a"]).fit(FRAME)
    scaler.save(tmp_path / "s")
    other = FRAME[["c", "a"]].assign(word="x")
    expected = scaler.transform(FRAME)[["c", "a"]]
    for one in (scaler, load(tmp_path / "s")):
        found = as_pandas(one.transform(MAKE[kind](other)))
        pd.testing.assert_frame_equal(found[["c", "a"]], expected)
        assert list(found.columns) == ["c", "a", "word"]
        back = as_pandas(one.inverse_transform(MAKE[kind](found)))
        np.testing.assert_allclose(back[["a", "c"]], FRAME[["a", "c"]], rtol=1e-13)


@kinds
def test_a_named_column_that_is_missing(kind):
    scaler = StandardScaler(columns=["c", "a"]).fit(FRAME)
    with pytest.raises(ValueError, match=r"must hold 'a'; there are 'b', 'c'"):
        as_pandas(scaler.transform(MAKE[kind](FRAME[["b", "c"]])))
    with pytest.raises(ValueError, match=r"must hold 'a'; there are 'b', 'c'"):
        scaler.partial_fit(MAKE[kind](FRAME[["b", "c"]]))


@kinds
@pytest.mark.parametrize("columns", [[2, 0], [True, False, True], None])
def test_others_must_be_those_of_the_fit_in_its_order(columns, kind):
    scaler = StandardScaler(columns=columns).fit(FRAME)
    for wrong in (FRAME[["c", "b", "a"]], FRAME[["a", "b"]], FRAME.assign(d=1.0)):
        with pytest.raises(ValueError, match=r"feature names should match|those of the fit"):
            as_pandas(scaler.transform(MAKE[kind](wrong)))
        with pytest.raises(ValueError, match=r"feature names should match|go from 0 to 1; got 2"):
            scaler.partial_fit(MAKE[kind](wrong))


@kinds
def test_partial_fit_finds_named_columns(kind):
    scaler = StandardScaler(columns=["c", "a"]).fit(FRAME[:25])
    scaler.partial_fit(MAKE[kind](FRAME[25:][["c", "a"]].assign(more=1)))
    whole = StandardScaler(columns=["c", "a"]).fit(FRAME)
    np.testing.assert_allclose(scaler.mean_, whole.mean_, rtol=1e-14)
    assert list(scaler.feature_names_in_) == ["a", "b", "c"]


def test_an_array_has_no_names_and_counts():
    scaler = StandardScaler(columns=["c", "a"]).fit(FRAME)
    with pytest.warns(UserWarning, match="valid feature names"):
        found = scaler.transform(X)
    np.testing.assert_array_equal(found, scaler.transform(FRAME))

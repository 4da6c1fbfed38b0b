"""What goes in comes out: container, dtype, device, order; and what cannot go in says so."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse

from equipoise.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)
NAMES = ["a", "b", "c"]


def draw(dtype=np.float64, rows=60):
    return (5 + np.random.default_rng(0).standard_normal((rows, 3))).astype(dtype)


def as_numpy(x):
    if isinstance(x, np.ndarray | torch.Tensor):
        return np.asarray(x)
    return x.toarray() if sparse.issparse(x) else x.to_numpy()


MAKERS = {
    "array": lambda x: x,
    "fortran": np.asfortranarray,
    "rows apart": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns apart": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "list": lambda x: x.tolist(),
    "pandas": lambda x: pd.DataFrame(x, columns=NAMES, index=np.arange(len(x)) * 2),
    "polars": lambda x: pl.DataFrame({n: x[:, i] for i, n in enumerate(NAMES)}),
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", [*SCALERS, Normalizer])
def test_the_container_and_dtype_come_back(cls, dtype, make):
    x = draw(dtype)
    given = MAKERS[make](x)
    expected = cls().fit(x).transform(x)
    scaler = cls().fit(given)
    result = scaler.transform(given)
    assert type(result) is (np.ndarray if make == "list" else type(given))
    wanted = np.float64 if make == "list" else dtype
    assert as_numpy(result).dtype == wanted
    np.testing.assert_allclose(as_numpy(result), expected, rtol=1e-6)
    if make == "pandas":
        assert list(result.index) == list(given.index)
        assert list(result.columns) == NAMES
    if cls is not Normalizer:
        back = scaler.inverse_transform(result)
        assert type(back) is type(result)
        np.testing.assert_allclose(as_numpy(back), x, rtol=1e-5)


@pytest.mark.parametrize("cls", SCALERS)
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, bool])
def test_integers_become_float64(cls, dtype):
    x = np.random.default_rng(0).integers(0, 2 if dtype is bool else 50, (40, 3)).astype(dtype)
    z = cls().fit_transform(x)
    assert z.dtype == np.float64
    np.testing.assert_array_equal(z, cls().fit_transform(x.astype(float)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int32])
def test_tensors_of_other_dtypes(dtype):
    x = torch.from_numpy(draw() * 4).to(dtype)
    z = StandardScaler().fit_transform(x)
    assert z.dtype == (torch.float64 if dtype == torch.int32 else dtype)
    exact = StandardScaler().fit_transform(x.double())
    assert (z.double() - exact).abs().max() < 0.02
    part = StandardScaler(columns=[1]).fit_transform(x)
    assert torch.equal(part[:, 1], z[:, 1])
    assert torch.equal(part[:, 0], x[:, 0].to(part.dtype))


@pytest.mark.parametrize("want", ["pandas", "polars", "default"])
@pytest.mark.parametrize("make", ["array", "pandas", "polars", "tensor"])
def test_set_output_decides_for_both_directions(make, want):
    x = draw(np.float32)
    scaler = StandardScaler().set_output(transform=want).fit(MAKERS[make](x))
    for method in (scaler.transform, scaler.inverse_transform):
        kind = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "default": np.ndarray}[want]
        result = method(MAKERS[make](x))
        assert type(result) is kind
        assert as_numpy(result).dtype == np.float32
        if want != "default" and make in ("pandas", "polars"):
            assert list(result.columns) == NAMES


def test_mixed_frames_keep_the_dtype_of_each_column():
    frame = pd.DataFrame(
        {
            "i": [1, 2, 4],
            "f": np.array([1, 2, 4], np.float32),
            "s": ["x", "y", "z"],
            "n": pd.array([1, None, 3], "Int64"),
        }
    )
    for given in (frame, pl.from_pandas(frame)):
        z = StandardScaler(columns=["n", "f", "i"]).fit_transform(given)
        assert list(z.columns) == list(frame.columns)
        assert list(z["s"]) == ["x", "y", "z"]
        values = {n: np.asarray(z[n], np.float64) for n in "ifn"}
        assert str(z["f"].dtype).lower() == "float32"
        assert values["i"][0] == pytest.approx(values["f"][0], rel=1e-6)
        assert np.isnan(values["n"][1])
        assert values["n"][0] == pytest.approx(-1)


def test_columns_may_be_numbers_in_any_order():
    x = draw()
    scaler = StandardScaler(columns=[2, 0]).fit(x)
    assert scaler.mean_ == pytest.approx(x.mean(axis=0)[[2, 0]])
    z = scaler.transform(x)
    np.testing.assert_array_equal(z[:, 1], x[:, 1])
    np.testing.assert_allclose(z[:, [0, 2]].mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(scaler.inverse_transform(z), x, rtol=1e-14)
    tensor = scaler.transform(torch.from_numpy(x))
    np.testing.assert_array_equal(tensor.numpy(), z)
    half = x.astype(np.float16)
    np.testing.assert_array_equal(scaler.transform(half)[:, 1], half[:, 1])


@pytest.mark.parametrize("cls", SCALERS)
def test_one_scale_is_shared_by_all_columns(cls):
    x = draw(rows=20_000) * [1, 2, 3]
    shared = cls(shared=True).fit(x)
    flat = cls().fit(x.reshape(-1, 1))
    np.testing.assert_allclose(shared.scale_, np.repeat(flat.scale_, 3), rtol=1e-14)
    np.testing.assert_allclose(
        shared.transform(x), flat.transform(x.reshape(-1, 1)).reshape(-1, 3), rtol=1e-12
    )


@pytest.mark.parametrize("make", ["array", "fortran", "rows apart", "tensor"])
@pytest.mark.parametrize("cls", [*SCALERS, Normalizer])
def test_out_and_copy_write_where_they_say(cls, make):
    x = draw(np.float32, rows=2000)
    expected = cls().fit(x).transform(x)
    given = MAKERS[make](x.copy())
    scaler = cls().fit(given)
    out = np.full_like(x, np.nan)
    out = torch.from_numpy(out) if make == "tensor" else out
    assert scaler.transform(given, out=out) is out
    np.testing.assert_array_equal(np.asarray(out), expected)
    np.testing.assert_array_equal(np.asarray(given), x)
    result = scaler.transform(given, copy=False)
    np.testing.assert_array_equal(np.asarray(result), expected)
    np.testing.assert_array_equal(np.asarray(given), expected)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(with_mean=False),
        MaxAbsScaler(),
        RobustScaler(with_centering=False),
        Normalizer("l1"),
        Normalizer("max"),
        StandardScaler(with_mean=False, columns=[1]),
    ],
    ids=str,
)
def test_sparse_is_dense_with_zeros(scaler, container):
    dense = draw(rows=300) * (np.random.default_rng(1).random((300, 3)) < 0.4)
    x = container(dense)
    z = scaler.fit(x).transform(x)
    assert type(z) is type(x)
    assert z.format == x.format
    np.testing.assert_allclose(z.toarray(), scaler.fit(dense).transform(dense), rtol=1e-12)
    if not isinstance(scaler, Normalizer):
        np.testing.assert_allclose(scaler.inverse_transform(z).toarray(), dense, rtol=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_weights(container):
    dense = draw(rows=300) * (np.random.default_rng(1).random((300, 3)) < 0.4)
    weights = np.random.default_rng(2).integers(0, 3, 300)
    scaler = StandardScaler(with_mean=False).fit(container(dense), sample_weight=weights)
    again = StandardScaler().fit(np.repeat(dense, weights, axis=0))
    np.testing.assert_allclose(scaler.var_, again.var_, rtol=1e-12)
    np.testing.assert_allclose(scaler.mean_, again.mean_, rtol=1e-12)


@pytest.mark.parametrize("cls", [StandardScaler, RobustScaler])
def test_whole_weights_repeat_rows(cls):
    x, weights = draw(rows=101), np.random.default_rng(2).integers(0, 4, 101)
    x[3, 0] = np.nan
    x[weights == 0] = np.inf
    kept = weights > 0
    with_weights = cls().fit(np.where(kept[:, None], x, np.nan), sample_weight=weights)
    repeated = cls().fit(np.repeat(x, weights, axis=0))
    np.testing.assert_allclose(with_weights.scale_, repeated.scale_, rtol=1e-13)
    name = "mean_" if cls is StandardScaler else "center_"
    np.testing.assert_allclose(getattr(with_weights, name), getattr(repeated, name), rtol=1e-13)


@pytest.mark.parametrize("cls", SCALERS)
def test_null_of_polars_stays_null(cls):
    dtypes = [pl.Float64, pl.Float32, pl.Int64]
    frame = pl.DataFrame(
        [pl.Series(n, [1, None, 3], t) for n, t in zip(NAMES, dtypes, strict=True)]
    )
    found = cls().fit_transform(frame)
    assert found.null_count().row(0) == (1, 1, 1)
    assert found.dtypes == [pl.Float64, pl.Float32, pl.Float64]
    nan = cls().fit_transform(pl.DataFrame({"a": [1.0, float("nan"), 3.0]}))
    assert nan.null_count().item() == 0
    # a column that is all null has no type of numbers
    part = pl.DataFrame({n: [None, None] for n in NAMES})
    again = cls().partial_fit(frame).partial_fit(part)
    assert again.transform(part).null_count().row(0) == (2, 2, 2)


@pytest.mark.parametrize("cls", [*SCALERS, Normalizer])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float32_in_another_order_of_bytes_is_float32(cls, dtype):
    x = draw(">" + dtype)
    found = cls().fit(x).transform(x)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, cls().fit_transform(draw(dtype)))


@pytest.mark.parametrize("cls", SCALERS)
def test_words_beside_the_chosen_columns_of_an_array(cls):
    x = np.array([["Ann", 20, 1.5], ["Bo", None, 2.5], ["Cy", 40, 3.0]], dtype=object)
    numbers = x[:, [2, 1]].astype(float)
    scaler = cls(columns=[2, 1]).fit(x)
    found = scaler.transform(x)
    np.testing.assert_array_equal(found[:, 0], x[:, 0])
    np.testing.assert_array_equal(found[:, [2, 1]].astype(float), cls().fit_transform(numbers))
    back = scaler.inverse_transform(found)[:, [2, 1]].astype(float)
    np.testing.assert_allclose(back, numbers, rtol=1e-14)
    assert x[1, 1] is None
    with pytest.raises(ValueError, match=r"column 0 holds 'Ann' in row 0.*columns="):
        cls(columns=[1, 0]).fit(x)
    with pytest.raises(ValueError, match="column 1 holds inf in row 2"):
        scaler.transform(np.where(x == 40, np.inf, x))

"""Columns of Arrow that are summed where they lie: no copy, and the same sums as of a matrix."""

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="columns of Arrow")
pq = pytest.importorskip("pyarrow.parquet", reason="columns of Arrow")

from equipoise.data.block import Choice  # noqa: E402
from equipoise.data.columnar import Reader, apart, matrix  # noqa: E402
from equipoise.preprocessing import (  # noqa: E402
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)


def batch(rows=500):
    rng = np.random.default_rng(0)
    x = 1e4 + rng.standard_normal(rows)
    holes = [None if i % 7 == 0 else float(v) for i, v in enumerate(x)]
    return pa.record_batch(
        {
            "whole": x,
            "nan": np.where(x > 1e4, x, np.nan),
            "null": pa.array(holes),
            "short": x.astype(np.float32),
            "int": rng.integers(-5, 5, rows),
            "bool": x > 1e4,
        }
    )


# what only a source with names has, and how a fit was made
OF_FRAMES = ("feature_names_in_", "rank_error_")
NAMES = tuple(batch(1).schema.names)


@pytest.mark.parametrize("make", [lambda b: b, lambda b: pa.Table.from_batches([b, b[:3]])])
def test_columns_hold_what_a_matrix_does(make):
    source = make(batch())
    found, expected = (form(source, NAMES, np.dtype("f8")) for form in (apart, matrix))
    assert (found.shape, len(found)) == (expected.shape, len(expected))
    np.testing.assert_array_equal(found[:], expected)
    np.testing.assert_array_equal(found[7:9], expected[7:9])


def test_columns_without_null_are_not_copied():
    source = batch()
    columns = apart(source, ("whole", "nan"), np.dtype("f8")).columns
    for name, column in zip(("whole", "nan"), columns, strict=True):
        assert column.ctypes.data == source.column(name).buffers()[1].address


@pytest.mark.parametrize("cls", [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler])
def test_a_fit_of_columns_is_that_of_the_matrix(cls, tmp_path):
    if cls is RobustScaler:
        pytest.importorskip("datasketches", reason="RobustScaler streams through sketches")
    pq.write_table(pa.Table.from_batches([batch()]), tmp_path / "a.parquet")
    x = Reader(batch().schema, Choice()).block(batch()).values
    fitted, expected = cls().fit(tmp_path), cls().fit(x)
    names = [n for n in vars(expected) if n.endswith("_") and n not in OF_FRAMES]
    assert "scale_" in names
    for name in names:
        found = getattr(fitted, name)
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-13, err_msg=name)

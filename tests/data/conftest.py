"""Rows of every kind, in memory and in files, that the tests of sources share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def rows():
    """Give 1000 rows: floats with NaN, small ints, bools, ints with null, and a word."""
    pd = pytest.importorskip("pandas", reason="the rows come as a pandas frame")
    rng = np.random.default_rng(7)
    x = rng.normal(5, 2, 1000).astype(np.float32)
    x[::50] = np.nan
    return pd.DataFrame(
        {
            "x": x,
            "k": rng.integers(0, 9, 1000),
            "word": ["a", "b"] * 500,
            "few": pd.array([1, None] * 500, dtype="Int64"),
            "yes": rng.random(1000) > 0.5,
            "y": rng.normal(size=1000),
        }
    )


@pytest.fixture
def parquet(rows, tmp_path):
    """Write the rows into three files of a folder, in several row groups; give the folder."""
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet is read by pyarrow")
    import pyarrow as pa

    folder = tmp_path / "parquet"
    folder.mkdir()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    for i, (first, stop) in enumerate([(0, 300), (300, 301), (301, 1000)]):
        pq.write_table(
            table.slice(first, stop - first), folder / f"part-{i}.parquet", row_group_size=128
        )
    return folder


@pytest.fixture
def csv(rows, tmp_path):
    """Write the rows to a CSV file."""
    pytest.importorskip("pyarrow", reason="CSV is read by pyarrow")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"

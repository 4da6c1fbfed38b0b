"""Scalers fitted from streams: as from one array, in any chunks, all or nothing."""

import numpy as np
import pytest
import torch

from equipoise.data import chunks
from equipoise.errors import UsageError
from equipoise.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler, load

RNG = np.random.default_rng(0)
X = np.array([1e8, -3.0, 1e-3, 7.0]) + RNG.normal(size=(3000, 4)) * [1.0, 2.0, 1e-3, 50.0]
X[::11, 1] = np.nan
KINDS = [StandardScaler, MinMaxScaler, MaxAbsScaler]
FITTED = ("mean_", "var_", "scale_", "data_min_", "data_max_", "max_abs_", "n_samples_seen_")


def near(a, b, rtol=1e-13):
    for name in FITTED:
        assert hasattr(a, name) == hasattr(b, name)
        if hasattr(a, name):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol)


def parquet(place, X=X, names="abcd", **options):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    import pyarrow.parquet as pq

    place.mkdir(exist_ok=True)
    for i, part in enumerate(np.array_split(X, 3)):
        table = pa.table({n: part[:, j] for j, n in enumerate(names)})
        pq.write_table(table, place / f"{i}.parquet", **options)
    return place


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 2, 9, 1000, 3000])
def test_any_chunks_give_the_same_scaler(kind, parts):
    near(kind().fit(iter(np.array_split(X, parts))), kind().fit(X))


@pytest.mark.parametrize("kind", KINDS)
def test_any_source_gives_the_same_scaler(kind, tmp_path):
    pl = pytest.importorskip("polars", reason="one of the sources")
    folder = parquet(tmp_path / "x", row_group_size=333)
    whole = kind().fit(X)
    loader = torch.utils.data.DataLoader(torch.from_numpy(X), batch_size=100)
    sources = [
        folder, str(folder / "*.parquet"), pl.scan_parquet(folder / "*.parquet"), loader,
        torch.utils.data.TensorDataset(torch.from_numpy(X)), chunks(folder), iter([X[:5], X[5:]]),
    ]  # fmt: skip
    for source in sources:
        near(kind().fit(source), whole)


def test_names_come_with_the_source(tmp_path):
    folder = parquet(tmp_path / "x")
    for source in (folder, chunks(folder)):
        scaler = StandardScaler().fit(source)
        assert scaler.feature_names_in_.tolist() == list("abcd")
        assert scaler.n_features_in_ == 4
    assert not hasattr(StandardScaler().fit(iter([X])), "feature_names_in_")


@pytest.mark.parametrize("columns", [["d", "b"], [3, 1], [-1, 1]])
def test_chosen_columns_are_all_that_is_read(columns, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    folder = parquet(tmp_path / "x")
    scaler = StandardScaler(columns=columns).fit(folder)
    near(scaler, StandardScaler().fit(X[:, [3, 1]]))
    assert scaler.n_features_in_ == 4
    table = pa.table({n: X[:, j] for j, n in enumerate("abcd")})
    scaled = scaler.transform(table)
    assert scaled.column_names == list("abcd")
    np.testing.assert_array_equal(scaled["a"], X[:, 0])
    expected = StandardScaler().fit(X[:, [3, 1]]).transform(X[:, [3, 1]])
    np.testing.assert_allclose(scaled["b"], expected[:, 1], rtol=1e-12, atol=1e-14)


def test_chosen_columns_stand_anywhere_in_later_files(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1.0, 2.0], "b": [5.0, 7.0]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"c": ["w"], "b": [6.0], "a": [3.0]}), tmp_path / "2.parquet")
    for columns in (["b", "a"], [1, 0], [True, True]):
        scaler = StandardScaler(columns=columns).fit(tmp_path)
        order = ["a", "b"] if columns[0] is True else ["b", "a"]
        np.testing.assert_allclose(scaler.mean_, [{"a": 2.0, "b": 6.0}[n] for n in order])
        assert list(scaler.feature_names_in_) == ["a", "b"]


def test_a_mask_of_columns():
    mask = [True, False, False, True]
    near(StandardScaler(columns=mask).fit(iter([X])), StandardScaler().fit(X[:, [0, 3]]))


def test_images_through_chunks():
    images = torch.randn(30, 3, 5, 4)
    loader = torch.utils.data.DataLoader(images, batch_size=7)
    scaler = StandardScaler().fit(chunks(loader, axis=(0, 2, 3)))
    np.testing.assert_allclose(scaler.mean_, images.double().mean((0, 2, 3)), rtol=1e-12)
    with pytest.raises(UsageError, match=r"chunks\(source, axis=\(0, 2, 3\)\)"):
        StandardScaler().fit(loader)


def test_partial_fit_goes_on_and_checks_the_columns(tmp_path):
    folder = parquet(tmp_path / "x")
    scaler = StandardScaler().fit(folder).partial_fit(iter([X])).partial_fit(chunks(folder))
    near(scaler, StandardScaler().fit(np.concatenate([X] * 3)))
    other = parquet(tmp_path / "y", names="abce")
    with pytest.raises(ValueError, match="feature names should match"):
        scaler.partial_fit(other)
    with pytest.raises(ValueError, match="3 features"):
        scaler.partial_fit(iter([X[:, :3]]))
    near(scaler, StandardScaler().fit(np.concatenate([X] * 3)))


def bad(kind):
    """Give a stream that is good at first."""
    yield X[:1000]
    if kind == "inf":
        wrong = X[1000:].copy()
        wrong[234, 2] = -np.inf
        yield wrong
    elif kind == "width":
        yield X[:, :3]
    elif kind == "words":
        yield np.array([["a", "b", "c", "d"]])
    else:
        raise OSError("the network is gone")


@pytest.mark.parametrize(
    "kind, message",
    [
        ("inf", "column 2 holds -inf in row 1234"),
        ("width", "chunk 1 has 3 columns, those before it 4"),
        ("words", "must be numbers"),
        ("gone", "the network is gone"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_nothing_half_fitted_is_kept(kind, message, method):
    scaler = MinMaxScaler()
    with pytest.raises((ValueError, OSError), match=message):
        getattr(scaler, method)(bad(kind))
    assert vars(scaler) == vars(MinMaxScaler())
    scaler.fit(X)
    with pytest.raises((ValueError, OSError), match=message):
        getattr(scaler, method)(bad(kind))
    near(scaler, MinMaxScaler().fit(X))


@pytest.mark.parametrize(
    "source, message",
    [
        (lambda: iter([]), "at least one row"),
        (lambda: iter([X[:0]]), "at least one row"),
        (lambda: iter([np.full((3, 2), np.nan)]), "0, 1 hold only NaN or null"),
        (lambda: "nothing.parquet", "no file or folder"),
    ],
)
def test_sources_that_teach_nothing(source, message):
    with pytest.raises(UsageError, match=message):
        StandardScaler().fit(source())


def test_a_chunk_without_rows_changes_nothing():
    near(StandardScaler().fit(iter([X[:0], X[:9], X[:0], X[9:]])), StandardScaler().fit(X))


def test_weights_need_the_rows_at_hand():
    with pytest.raises(ValueError, match="sample_weight needs all rows"):
        StandardScaler().fit(iter([X]), sample_weight=np.ones(len(X)))


def test_transform_of_streams(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    folder = parquet(tmp_path / "x")
    scaler = StandardScaler().fit(folder)
    expected = scaler.transform(pa.table({n: X[:, j] for j, n in enumerate("abcd")}))
    dataset = pytest.importorskip("pyarrow.dataset").dataset(folder)
    for source in (folder, dataset):
        found = pa.Table.from_batches(list(scaler.transform(source)))
        for name in "abcd":
            np.testing.assert_array_equal(found[name], expected[name])
    parts = list(StandardScaler().fit(X).transform(iter(np.array_split(X, 4))))
    np.testing.assert_array_equal(np.concatenate(parts), StandardScaler().fit(X).transform(X))


def test_transform_of_loaders_keeps_the_targets():
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(len(X)))
    scaler = StandardScaler().fit(data)
    batches = list(scaler.transform(torch.utils.data.DataLoader(data, batch_size=500)))
    assert torch.equal(torch.cat([y for _, y in batches]), torch.arange(len(X)))
    np.testing.assert_array_equal(torch.cat([x for x, _ in batches]), scaler.transform(X))


def test_transform_of_a_lazy_frame_is_lazy(tmp_path):
    pl = pytest.importorskip("polars", reason="one of the sources")
    folder = parquet(tmp_path / "x")
    scaler = StandardScaler(columns=["a", "d"]).fit(folder)
    lazy = scaler.transform(pl.scan_parquet(folder / "*.parquet"))
    assert isinstance(lazy, pl.LazyFrame)
    found = lazy.collect()
    np.testing.assert_array_equal(found["b"], X[:, 1])
    np.testing.assert_allclose(found["d"], (X[:, 3] - scaler.mean_[1]) / scaler.scale_[1])


def test_transform_of_tables_with_other_columns(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    scaler = StandardScaler().fit(parquet(tmp_path / "x"))
    columns = {n: X[:, j] for j, n in enumerate("abcd")}
    for names, message in (("abdc", "another order"), ("abc", "lacks 'd'")):
        with pytest.raises(UsageError, match=message):
            scaler.transform(pa.table({n: columns[n] for n in names}))
    with pytest.raises(UsageError, match="adds 'e'"):
        scaler.transform(pa.table(columns | {"e": X[:, 0]}))
    wrong = columns | {"c": np.where(np.arange(3000) == 77, np.inf, X[:, 2])}
    with pytest.raises(UsageError, match="column 'c' holds inf in row 77"):
        scaler.transform(pa.table(wrong))


def test_transform_before_fit(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        StandardScaler().transform(parquet(tmp_path / "x"))


@pytest.mark.parametrize("cls", KINDS)
def test_inverse_transform_of_sources(cls, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    pl = pytest.importorskip("polars", reason="one of the sources")
    scaler = cls(columns=["a", "d"]).fit(parquet(tmp_path / "x"))
    table = pa.table({n: X[:, j] for j, n in enumerate("abcd")})
    scaled = scaler.transform(table)
    parquet(tmp_path / "z", np.stack([scaled[n].to_numpy() for n in "abcd"], axis=1))
    for back in (
        scaler.inverse_transform(scaled),
        scaler.inverse_transform(pl.from_arrow(scaled).lazy()).collect(),
        pa.Table.from_batches(list(scaler.inverse_transform(tmp_path / "z"))),
        next(scaler.inverse_transform(iter([scaled]))),
    ):
        for j, name in enumerate("abcd"):
            np.testing.assert_allclose(back[name].to_numpy(), X[:, j], rtol=1e-13, atol=1e-12)
    with pytest.raises(ValueError, match="out= needs an array"):
        scaler.inverse_transform(table, out=X)


def test_what_can_be_read_once_is_not_fitted_and_transformed():
    pa = pytest.importorskip("pyarrow", reason="readers are Arrow's")
    table = pa.table({"a": X[:, 0]})
    for source in (iter([X]), table.to_reader()):
        with pytest.raises(UsageError, match="reads its rows twice"):
            StandardScaler().fit_transform(source)
    assert StandardScaler().fit_transform(table).num_rows == len(X)


@pytest.mark.parametrize("want", ["pandas", "polars", "default"])
def test_sources_come_back_as_they_do_whatever_output_is_set(want, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    pl = pytest.importorskip("polars", reason="one of the sources")
    scaler = StandardScaler().set_output(transform=want).fit(parquet(tmp_path / "x"))
    table = pa.table({n: X[:, j] for j, n in enumerate("abcd")})
    assert isinstance(scaler.transform(table), pa.Table)
    assert isinstance(next(scaler.transform(tmp_path / "x")), pa.RecordBatch)
    assert isinstance(scaler.transform(pl.from_arrow(table).lazy()), pl.LazyFrame)
    assert isinstance(scaler.fit_transform(table), pa.Table)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_normalizer_of_sources(norm, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    x = np.nan_to_num(X)
    expected = Normalizer(norm).fit_transform(x)
    table = pa.table({n: x[:, j] for j, n in enumerate("abcd")})
    Normalizer(norm).save(tmp_path / "s")
    again = load(tmp_path / "s")
    for found in (
        Normalizer(norm).fit(table).transform(table),
        pa.Table.from_batches(list(again.transform(parquet(tmp_path / "x", x)))),
    ):
        np.testing.assert_array_equal(np.stack([found[n] for n in "abcd"], axis=1), expected)
    with pytest.raises(UsageError, match="must be finite: column 'b' holds nan in row 0"):
        again.transform(pa.table({n: X[:, j] for j, n in enumerate("abcd")}))


def test_columns_that_pass_may_share_a_name():
    pa = pytest.importorskip("pyarrow", reason="the table is Arrow's")
    scaler = StandardScaler(columns=["a"]).fit({"a": [1.0, 3.0], "b": [0.0, 0.0]})
    table = pa.table([[3.0], ["x"], ["y"]], names=["a", "b", "b"])
    assert [c.to_pylist() for c in scaler.transform(table).columns] == [[1.0], ["x"], ["y"]]


def test_an_open_file_is_asked_for_by_its_path(tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    with (
        open(tmp_path / "a.csv") as file,
        pytest.raises(UsageError, match=r"by its path.*a\.csv"),
    ):
        StandardScaler().fit(file)


def test_rows_for_chunks():
    # each would be a column of its own, silently
    for source in (iter(np.ones((3, 4))), iter([[1.0, 2.0], [3.0, 4.0]]), iter(torch.ones(2, 3))):
        with pytest.raises(UsageError, match=r"must be a matrix .*one row is x\[None, :\]"):
            StandardScaler().fit(source)
    assert StandardScaler().fit(iter(np.ones((3, 4, 1)))).n_samples_seen_ == 12

"""Ray Data on a cluster of two nodes: the same scaler as here, whatever dies on the way."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from equipoise.data import chunks
from equipoise.errors import UsageError
from equipoise.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

pytest.importorskip("ray", reason="the tests of clusters need Ray: equipoise[ray]")
pa = pytest.importorskip("pyarrow", reason="Ray's blocks are Arrow's")
import pyarrow.parquet as pq  # noqa: E402

# what Ray and what it uses deprecate is theirs
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS, NAMES = 4000, ["a", "b", "c"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = np.array([1e5, -3.0, 0.01]) + np.array([1.0, 20.0, 1e-3]) * rng.normal(size=(ROWS, 3))
    columns = {name: X[:, j] for j, name in enumerate(NAMES)}
    columns["b"] = pa.array(X[:, 1], mask=rng.random(ROWS) < 0.1)
    return pa.table(columns | {"word": ["w"] * ROWS})


@pytest.fixture
def dataset(cluster, table):
    import ray

    parts = [table.slice(i, ROWS // 8) for i in range(0, ROWS, ROWS // 8)]
    return ray.data.from_arrow(parts)


def matrix(table):
    return np.stack([table[name].to_numpy() for name in NAMES], axis=1)


def same(a, b, bound=1e-12):
    for name in ("mean_", "var_", "scale_", "data_min_", "data_max_", "max_abs_"):
        x, y = getattr(a, name, None), getattr(b, name, None)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=bound)
    np.testing.assert_array_equal(a.n_samples_seen_, b.n_samples_seen_)


@pytest.mark.parametrize("kind", [StandardScaler, MinMaxScaler, MaxAbsScaler])
def test_fit_equals_one_machine(kind, dataset, table):
    scaler = kind(columns=NAMES).fit(dataset)
    same(scaler, kind().fit(matrix(table)))
    assert list(scaler.feature_names_in_) == [*NAMES, "word"]


def test_sketches_merge_in_the_cluster(dataset, table):
    preprocessing = pytest.importorskip("equipoise.preprocessing")
    pytest.importorskip("datasketches", reason="RobustScaler streams through sketches")
    scaler = preprocessing.RobustScaler(columns=NAMES).fit(dataset)
    exact = preprocessing.RobustScaler().fit(matrix(table))
    # KLL's rank error of half a percent, on a bell
    np.testing.assert_allclose(scaler.scale_, exact.scale_, rtol=0.05)


def test_fit_goes_on_from_what_was_known(dataset, table):
    scaler = StandardScaler(columns=NAMES).fit(dataset).partial_fit(dataset)
    twice = np.concatenate([matrix(table)] * 2)
    same(scaler, StandardScaler().fit(twice))


def test_transform_stays_in_the_cluster(dataset, table):
    import ray

    scaler = StandardScaler(columns=NAMES).fit(dataset)
    scaled = scaler.transform(dataset)
    assert isinstance(scaled, ray.data.Dataset)
    found = pa.concat_tables(pa.table(b) for b in ray.get(scaled.to_arrow_refs()))
    assert found["word"].to_pylist() == table["word"].to_pylist()
    assert found["b"].null_count == table["b"].null_count
    np.testing.assert_array_equal(matrix(found), matrix(scaler.transform(table)))


def test_chunks_bring_the_rows_here(dataset, table):
    parts = list(chunks(dataset, ["c", "a"], y="b"))
    assert parts[0][1] == ("c", "a")
    X = np.concatenate([part[0] for part in parts])
    np.testing.assert_array_equal(X, matrix(table)[:, [2, 0]])
    np.testing.assert_array_equal(np.concatenate([p[2] for p in parts]), matrix(table)[:, 1])


def test_parquet_read_by_ray(cluster, table, tmp_path):
    import ray

    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), tmp_path / f"{i}.parquet")
    scaler = StandardScaler(columns=NAMES).fit(ray.data.read_parquet(str(tmp_path)))
    same(scaler, StandardScaler(columns=NAMES).fit(tmp_path))


def test_blocks_of_pandas(cluster, table):
    import ray

    pytest.importorskip("pandas", reason="one kind of Ray's blocks")
    dataset = ray.data.from_pandas([table.slice(0, 1000).to_pandas(), table[1000:].to_pandas()])
    scaler = StandardScaler(columns=NAMES).fit(dataset)
    same(scaler, StandardScaler().fit(matrix(table)))
    with pytest.raises(UsageError, match=r"column 'word'.* must hold numbers"):
        StandardScaler().fit(dataset)


def test_what_cannot_be_fitted(cluster, dataset, table):
    import ray

    with pytest.raises(UsageError, match=r"column 'word'.* must hold numbers"):
        StandardScaler().fit(dataset)
    with pytest.raises(UsageError, match="'nope'"):
        StandardScaler(columns=["nope"]).fit(dataset)
    infinite = ray.data.from_arrow(pa.table({"a": [1.0, float("inf")]}))
    scaler = StandardScaler()
    with pytest.raises(UsageError, match="column 'a' holds inf in row 1 of a block"):
        scaler.fit(infinite)
    assert not hasattr(scaler, "mean_")
    with pytest.raises(UsageError, match="at least one row"):
        StandardScaler(columns=NAMES).fit(ray.data.from_arrow(table.slice(0, 0)))
    fitted = StandardScaler(columns=NAMES).fit(dataset)
    with pytest.raises(UsageError, match="must hold 'b'"):
        fitted.transform(dataset.select_columns(["a", "c"]))


def killer(marker):
    """Give a function of a batch that kills its worker the first time, with kill -9."""

    def kill_once(batch):
        if batch["a"][0] is not None and not Path(marker).exists():
            Path(marker).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    return kill_once


def test_a_killed_worker_changes_nothing(dataset, table, tmp_path):
    marker = tmp_path / "killed"
    risky = dataset.map_batches(killer(str(marker)), batch_format="pyarrow", batch_size=None)
    scaler = StandardScaler(columns=NAMES).fit(risky)
    assert int(marker.read_text()) != os.getpid()
    same(scaler, StandardScaler().fit(matrix(table)))

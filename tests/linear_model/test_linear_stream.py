"""Fits from streams: chunks are the whole, whatever holds the rows."""

import numpy as np
import pytest
from sklearn import linear_model as theirs

from equipoise import CoMoments
from equipoise.linear_model import ElasticNet, Lasso, Ridge, stream

MODELS = [
    Ridge(2.0), Ridge(2.0, standardize=True), Ridge(2.0, fit_intercept=False),
    Ridge(2.0, positive=True), Lasso(0.1), Lasso(0.1, fit_intercept=False),
    Lasso(0.1, positive=True), ElasticNet(0.2, l1_ratio=0.3, standardize=True),
    Lasso(0.05, penalty_weights=[0, 1, 2, 3, 9]),
]  # fmt: skip


def data(n=400, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(0.1, 10, p) + 100
    return X, X @ np.array([1.0, 0, -0.5, 0.2, 0.01][:p]) + rng.standard_normal(n)


def table(X, y):
    return {**{f"x{j}": X[:, j] for j in range(X.shape[1])}, "y": y}


def same(a, b, rtol=1e-7):
    assert np.allclose(a.coef_, b.coef_, rtol=rtol, atol=1e-9)
    assert a.intercept_ == pytest.approx(b.intercept_, rel=rtol)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_chunks_are_the_whole(model):
    from sklearn.base import clone

    X, y = data()
    whole, parts, source = (clone(model) for _ in range(3))
    if not isinstance(model, Ridge):
        for one in (whole, parts, source):
            one.tol = 1e-14
    whole.fit(X, y)
    for some in np.array_split(np.arange(len(y)), 7):
        parts.partial_fit(X[some], y[some])
    same(parts, whole)
    assert parts.comoments_.count == len(y)
    source.set_params(**({} if isinstance(model, Ridge) else {"tol": 1e-14})).fit(
        table(X, y), y="y"
    )
    same(source, whole)
    assert list(source.feature_names_in_) == ["x0", "x1", "x2", "x3", "x4"]


def test_any_source(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    X, y = data()
    whole = Ridge(1.0).fit(X, y)
    rows = pa.table(table(X, y))
    parquet.write_table(rows, tmp_path / "a.parquet", row_group_size=50)
    csv.write_csv(rows, tmp_path / "a.csv")
    chunks = (rows.slice(i, 90) for i in range(0, len(y), 90))
    for source in (rows, chunks, tmp_path / "a.parquet", tmp_path / "a.csv"):
        same(Ridge(1.0).fit(source, y="y"), whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what Ray warns of is its own
def test_ray_merges_where_the_blocks_are():
    ray = pytest.importorskip("ray")
    import pyarrow as pa

    X, y = data()
    # its own, whatever cluster runs here
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        dataset = ray.data.from_arrow([pa.table(table(X[i::3], y[i::3])) for i in range(3)])
        same(Ridge(1.0).fit(dataset, y="y"), Ridge(1.0).fit(X, y))
    finally:
        ray.shutdown()


def test_weights_and_targets_merge():
    X, y = data()
    Y = np.stack([y, -2 * y + 1], 1)
    w = np.random.default_rng(0).random(len(y))
    whole = Ridge([1.0, 5.0]).fit(X, Y, w)
    parts = (
        Ridge([1.0, 5.0]).partial_fit(X[:99], Y[:99], w[:99]).partial_fit(X[99:], Y[99:], w[99:])
    )
    assert np.allclose(parts.coef_, whole.coef_, rtol=1e-8)
    assert np.allclose(parts.intercept_, whole.intercept_, rtol=1e-8)


def test_comoments_from_anywhere_merge_and_fit():
    X, y = data()
    total = CoMoments.of(X[:150], y[:150]) + CoMoments.of(X[150:], y[150:])
    same(Ridge(1.0).fit_comoments(total), Ridge(1.0).fit(X, y))
    theirs_ = theirs.Lasso(0.1, tol=1e-12).fit(X, y)
    same(Lasso(0.1, tol=1e-14).fit_comoments(total), theirs_, rtol=1e-5)


def test_the_whole_path_from_one_pass():
    X, y = data()
    total = CoMoments.of(X, y)
    for alpha in (1.0, 0.1, 0.01):
        same(Lasso(alpha, tol=1e-14).fit_comoments(total), Lasso(alpha, tol=1e-14).fit(X, y), 1e-6)


def test_a_fit_forgets_the_stream():
    X, y = data()
    model = Ridge().partial_fit(X, y).fit(X[:50], y[:50])
    assert not hasattr(model, "comoments_")
    same(model.partial_fit(X, y), Ridge().fit(X, y))


def test_one_row_and_rows_that_come_one_by_one():
    X, y = data(12)
    model = Ridge(1.0)
    for i in range(12):
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    same(model, Ridge(1.0).fit(X, y))


def holed(value, where):
    X, y = data(20)
    (y if where == "y" else X[:, 2])[3] = value
    return table(X, y)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Ridge().fit(holed(np.nan, "x"), y="y"), "contains NaN: column 'x2'"),
        (lambda: Ridge().fit(holed(np.inf, "x"), y="y"), "infinity"),
        (lambda: Lasso().fit(holed(np.nan, "y"), y="y"), "contains NaN: column 'y'"),
        (lambda: Ridge().fit(table(*data()), y="z"), "z"),
        (lambda: Ridge().fit(iter([]), y="y"), "needs at least one row|no rows|none"),
        (lambda: Ridge(solver="sag").fit(table(*data()), y="y"), "needs the rows themselves"),
        (lambda: Ridge().partial_fit(*data(), np.zeros(400)), "at least one|not all be zero"),
        (lambda: Ridge().fit_comoments(CoMoments.of(data()[0])), "must hold targets"),
        (lambda: Ridge().fit(table(*data()), "y", np.ones(400)), "give chunks of them to partial"),
        (lambda: Lasso().fit(table(*data()), "y", np.ones(400)), "give chunks of them to partial"),
        (lambda: Lasso().partial_fit(*data(), np.nan), "sample_weight contains NaN"),
        (lambda: Ridge().partial_fit(*data()).partial_fit(*data(p=3)), "3 features, but Ridge is"),
        (lambda: Ridge(-1.0).fit(table(*data()), y="y"), "'alpha' parameter"),
        (lambda: stream.need_memory(10**6, 1), r"1,000,000 features would take 22,35\d.\d GiB, of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_what_is_no_summary_is_refused():
    with pytest.raises(TypeError, match="must be CoMoments; got dict"):
        Ridge().fit_comoments({})

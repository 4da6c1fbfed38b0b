"""Sweeps on the residual of sparse columns, against plain descent on an explicit copy."""

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from tolerances import DESCENT

from equipoise.ops.descend import design as designs
from equipoise.ops.descend import reference, working
from equipoise.ops.descend.solve import Solver

N, P = 800, 120


def problem(weighted, centred, scaled):
    rng = np.random.default_rng(0)
    X: Any = sparse.random_array((N, P), density=0.03, format="csc", rng=rng)
    X.data[:] = rng.standard_normal(X.nnz) + 1.0
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    weights = rng.integers(0, 3, N).astype(float) if weighted else None
    s = np.ones(N) if weights is None else weights
    offset = s @ X.toarray() / s.sum() if centred else np.zeros(P)
    scale = rng.uniform(0.5, 2.0, P) if scaled else np.ones(P)
    Z = np.sqrt(s)[:, None] * (X.toarray() - offset) / scale
    y = X @ rng.standard_normal(P) + rng.standard_normal(N)
    y = np.sqrt(s) * (y - (s @ y / s.sum() if centred else 0.0))
    return designs.make(X, weights, offset, scale), Z, y


@pytest.fixture
def sweeps(monkeypatch):
    """Sweep from the first feature on, and say how often."""
    monkeypatch.setattr(working, "MANY", 0)
    monkeypatch.setattr(working, "FEWER", 0)
    done, sweep = [], designs.Sparse.sweep

    def counted(*args):
        gap, sweeps = sweep(*args)
        done.append(sweeps)
        return gap, sweeps

    monkeypatch.setattr(designs.Sparse, "sweep", counted)
    return done


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("l2", [0.0, 2.0])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize(
    "weighted, centred, scaled", [(False, False, False), (False, True, False), (True, True, True)]
)
def test_equals_plain_descent(sweeps, weighted, centred, scaled, positive, l2, seed):
    design, Z, y = problem(weighted, centred, scaled)
    l1 = 0.05 * np.abs(Z.T @ y).max()
    solver = Solver(design, y, np.ones(P), positive=positive, seed=seed)
    fit = solver.solve(l1, l2, 1e-13 * float(y @ y), 10_000)
    assert sum(sweeps) > 1
    L1, L2 = np.full(P, l1), np.full(P, l2)
    assert fit.gap <= 1e-13 * (y @ y)
    expected = reference.solve(Z, y, L1, L2, positive)
    assert np.abs(fit.w - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.allclose(solver.work.diagonal, (Z * Z).sum(0)[solver.work.index])


def test_products_are_made_late_where_sweeps_do_not_get_there(sweeps, monkeypatch):
    monkeypatch.setattr(working, "LIMIT", 1)
    design, Z, y = problem(False, True, False)
    l1 = 0.01 * np.abs(Z.T @ y).max()
    solver = Solver(design, y, np.ones(P))
    fit = solver.solve(l1, 0.0, 1e-13 * float(y @ y), 10_000)
    assert max(sweeps) == 1
    assert solver.work.crossed == len(solver.work.index)
    assert reference.optimality(Z, y, np.full(P, l1), np.zeros(P), fit.w).max() < DESCENT.bound

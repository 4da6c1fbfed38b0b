"""The peers' environment: its process answers, and what it fits is what scikit-learn fits."""

import numpy as np
import pytest

from benchmarks import peers


@pytest.mark.slow
def test_every_peer_fits_the_same_lasso():
    from sklearn.linear_model import Lasso

    if not (peers.FOLDER / ".ready").exists():
        pytest.skip("python -m benchmarks.peers makes the peers' environment")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 200))
    y = X[:, :3].sum(1) + 0.1 * rng.standard_normal(80)
    exact = Lasso(0.1, tol=1e-12).fit(X, y).coef_
    with peers.Peers(X, y) as others:
        assert set(peers.NAMES) < set(others.versions)
        for name in peers.NAMES:
            seconds, coef = others.fit(name, alpha=0.1, tol=1e-10)
            assert seconds > 0
            assert np.abs(coef - exact).max() < 1e-6
        with pytest.raises(RuntimeError, match="celer: "):
            others.fit("celer", alpha=-1.0)

"""scikit-learn's tests of Ridge and RidgeCV, with ours in their place."""

import pytest
from sklearn_suite import adopt, load

from equipoise.linear_model import Ridge, RidgeCV

OURS = {"Ridge": Ridge, "RidgeCV": RidgeCV}
# nothing: every test of theirs that names one of these classes runs, those of the classifiers
# and of the private functions aside
REASONS: dict[str, str] = {}

globals().update(adopt(load("test_ridge", OURS), OURS, REASONS))

pytestmark = [
    # they run without filterwarnings = error, and alpha=0 warns here
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(params=[42])
def global_random_seed(request):
    """scikit-learn's own default."""
    return request.param

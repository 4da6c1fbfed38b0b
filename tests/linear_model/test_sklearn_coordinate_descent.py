"""scikit-learn's tests of Lasso, ElasticNet, their paths and CV, with ours in their place."""

import pytest
from sklearn_suite import adopt, load

from equipoise import linear_model

NAMES = ("Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "lasso_path", "enet_path")
OURS = {name: getattr(linear_model, name) for name in NAMES}
# docs/linear.md says the same to users
EXACT = "a fit here mostly ends at the exact solution, in fewer iterations"
INPUT = "input is checked and X left alone, whatever check_input and copy_X say"
MULTITASK = "the path functions fit one target; MultiTaskLasso is another model"
REASONS: dict[str, str] = {
    "test_lasso_dual_gap": "the gap is of rounding, 1e-15, and so is its relative error",
    "test_lasso_alpha_warning": "alpha=0 converges well here; the warning says what it asks for",
    "test_1d_multioutput_enet_and_multitask_enet_cv": EXACT + " than the MultiTask classes give",
    "test_1d_multioutput_lasso_and_multitask_lasso_cv": EXACT + " than the MultiTask classes give",
    "test_warm_start_convergence": EXACT,
    "test_warm_start_convergence_with_regularizer_decrement": EXACT,
    r"test_sparse_dense_descent_paths\[.*-2-": MULTITASK,
    "test_path_unknown_parameter": "Python's own TypeError names a parameter that is unknown",
    "test_check_input_false": INPUT,
    "test_enet_copy_X_False_check_input_False": INPUT,
    r"test_sparse_input_convergence_warning\[csr_(array|matrix)-(Lasso|ElasticNet)CV": EXACT,
    "test_lassoCV_does_not_set_precompute": "it replaces a class in a private module of theirs",
    "test_path_function_deprecated_n_alphas": "n_alphas and alphas=None are not deprecated here",
}

globals().update(adopt(load("test_coordinate_descent", OURS), OURS, REASONS))

# they run without filterwarnings = error
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(params=[42])
def global_random_seed(request):
    """scikit-learn's own default."""
    return request.param

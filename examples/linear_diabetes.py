"""Real data: a coefficient path, the choice of alpha, and what ``standardize`` does.

Run it with ``python examples/linear_diabetes.py [FOLDER]``; with a folder, the pictures are saved
there as HTML and SVG.  In a notebook, an expression such as ``path`` shows itself.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes

from equipoise.linear_model import LassoCV, RidgeCV, lasso_path, plot_cv, plot_path

# columns in their own units: years, mm Hg, mg/dl
X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)

# a penalty on coefficients in units: what is measured in small numbers pays more
raw = LassoCV(cv=5, random_state=0).fit(X, y)
# the same penalty for all, and coefficients in units all the same
scaled = LassoCV(cv=5, random_state=0, standardize=True).fit(X, y)
for name, model in (("in units", raw), ("standardized", scaled)):
    kept = [column for column, value in zip(X.columns, model.coef_, strict=True) if value]
    print(f"Lasso, {name}: R² {model.score(X, y):.3f} with {', '.join(kept)}")

# leave-one-out for 40 alphas costs as much as two fits
alphas = np.logspace(-2, 4, 40)
ridge = RidgeCV(alphas, standardize=True).fit(X, y)
simple = RidgeCV(alphas, standardize=True, rule="1se").fit(X, y)
print(f"Ridge: alpha {ridge.alpha_:.3g} is best, {simple.alpha_:.3g} within one standard error")

path_alphas, coefs, _ = lasso_path(X, y, standardize=True, fit_intercept=True)
# in standard deviations, so that the lines can be compared
path = plot_path(
    path_alphas, coefs * X.std(ddof=0).to_numpy()[:, None], names=X.columns, chosen=scaled.alpha_
)
choice = plot_cv(ridge)

if __name__ == "__main__" and len(sys.argv) > 1:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("html", "svg"):
        print((path + choice).save(folder / f"diabetes.{ending}"))

"""The classic snippet, with only its import changed.

Run it with ``python examples/linear_snippet.py``.
"""

from sklearn.datasets import make_regression
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from equipoise.linear_model import Lasso, Ridge

X, y = make_regression(n_samples=100, n_features=20, noise=0.1, random_state=42)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)

lasso = Lasso(alpha=0.1)
lasso.fit(X_train, y_train)
print(f"Lasso: mean squared error {mean_squared_error(y_test, lasso.predict(X_test)):.4f}")

ridge = Ridge(alpha=0.1)
ridge.fit(X_train, y_train)
print(f"Ridge: mean squared error {mean_squared_error(y_test, ridge.predict(X_test)):.4f}")

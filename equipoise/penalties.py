"""Penalties: what a regression or a network pays for its weights, and the step that lowers it.

A penalty P has a value and a proximal operator,

    prox(w, step) = argmin_z ½ ‖z - w‖² + step P(z)

and works alike on NumPy arrays and torch tensors.  Values are differentiable in torch; the
proximal operator gives exact zeros where a gradient step only hovers around them.
"""

from math import prod
from typing import Any

import numpy as np

__all__ = ["L1", "L1L2", "L2", "GroupL2"]


class _Penalty:
    """A strength ``alpha`` and a factor ``weights`` for each entry (or group) of w."""

    def __init__(self, alpha: float = 1.0, weights=None):
        self.alpha = _not_negative("alpha", alpha)
        self.weights = None if weights is None else _factors(weights)

    def __repr__(self):
        shown = ((k, v) for k, v in vars(self).items() if v is not None and k[0] != "_")
        return f"{type(self).__name__}({', '.join(f'{k}={_short(v)}' for k, v in shown)})"

    def _scaled(self, values):
        """Multiply ``values``, one an entry, by their factors; 0 stays 0 where a factor is inf."""
        if self.weights is None:
            return values
        product = values * _like(_finite(self.weights), values)
        if not (self.weights == np.inf).any():
            return product
        out = (values != 0) & (_like(self.weights, values) == np.inf)
        return _where(out, values * 0 + np.inf, product)

    def _threshold(self, w, amount):
        """Give ``amount`` times the factors, in the dtype of ``w``; inf stays inf at 0."""
        if self.weights is None:
            return amount
        return _like(np.where(self.weights == np.inf, np.inf, _finite(self.weights) * amount), w)


class L1(_Penalty):
    """The absolute values: α Σ v_j |w_j|, which makes weights exactly zero.

    prox(w, step) = sign(w) max(|w| - step α v, 0), soft thresholding.

    Parameters
    ----------
    alpha : float
        Strength α, at least 0.
    weights : array that broadcasts against w, optional
        A factor v for each entry (1): 0 leaves it free, inf makes it zero.

    References
    ----------
    Tibshirani, "Regression shrinkage and selection via the lasso", 1996.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> l1, w = eq.penalties.L1(0.5), np.array([3.0, -0.2, -1.0])
    >>> float(l1.value(w)), l1.prox(w, step=1.0)
    (2.1, array([ 2.5,  0. , -0.5]))
    """

    def value(self, w):
        """Give the penalty of ``w``, a number; float32 at least, where w is narrower."""
        w = _wide(_array(w))
        return self.alpha * self._scaled(abs(w)).sum()

    def prox(self, w, step: float):
        """Give the proximal step from ``w`` as a new array of its shape and dtype."""
        w = _array(w)
        return _soft(w, self._threshold(w, self.alpha * _not_negative("step", step)))


class L2(_Penalty):
    """The squares: ½ α Σ v_j w_j², whose gradient α v w is what optimizers call weight decay.

    prox(w, step) = w / (1 + step α v).  Parameters as of `L1`; ``Ridge(alpha)`` is
    ½ ‖y - Xw‖² + L2(alpha).

    Examples
    --------
    >>> import torch, equipoise as eq
    >>> l2, w = eq.penalties.L2(0.5), torch.tensor([3.0, -1.0])
    >>> l2.value(w), l2.prox(w, step=2.0)
    (tensor(2.5000), tensor([ 1.5000, -0.5000]))
    """

    def value(self, w):
        """Give the penalty of ``w``, a number; float32 at least, where w is narrower."""
        w = _wide(_array(w))
        return 0.5 * self.alpha * self._scaled(w * w).sum()

    def prox(self, w, step: float):
        """Give the proximal step from ``w`` as a new array of its shape and dtype."""
        w = _array(w)
        return w / (1 + self._threshold(w, self.alpha * _not_negative("step", step)))


class L1L2(_Penalty):
    """Both: α Σ v_j (ρ |w_j| + ½ (1 - ρ) w_j²), as in ``ElasticNet(alpha, l1_ratio=ρ)``.

    prox(w, step) = soft(w, step α ρ v) / (1 + step α (1 - ρ) v).

    Parameters
    ----------
    alpha : float
        Strength α, at least 0.
    l1_ratio : float
        Share ρ of the absolute values, in [0, 1]; 1 is `L1` and 0 is `L2`.
    weights : array that broadcasts against w, optional
        A factor v for each entry.

    References
    ----------
    Zou, Hastie, "Regularization and variable selection via the elastic net", 2005.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> eq.penalties.L1L2(1.0, l1_ratio=0.5).prox(np.array([2.0, 0.4]), step=1.0)
    array([1., 0.])
    """

    def __init__(self, alpha: float = 1.0, l1_ratio: float = 0.5, weights=None):
        super().__init__(alpha, weights)
        if not 0 <= l1_ratio <= 1:
            raise ValueError(f"l1_ratio must lie in [0, 1]; got {l1_ratio!r}")
        self.l1_ratio = float(l1_ratio)

    def value(self, w):
        """Give the penalty of ``w``, a number; float32 at least, where w is narrower."""
        w = _wide(_array(w))
        rho = self.l1_ratio
        return self.alpha * self._scaled(rho * abs(w) + 0.5 * (1 - rho) * w * w).sum()

    def prox(self, w, step: float):
        """Give the proximal step from ``w`` as a new array of its shape and dtype."""
        w, amount = _array(w), self.alpha * _not_negative("step", step)
        rho = self.l1_ratio
        shrunk = _soft(w, self._threshold(w, amount * rho)) if rho > 0 else w
        return shrunk / (1 + self._threshold(w, amount * (1 - rho))) if rho < 1 else shrunk


class GroupL2(_Penalty):
    """Norms of groups: α Σ_g v_g ‖w_g‖₂, which makes whole groups exactly zero.

    prox(w, step) scales each group by max(0, 1 - step α v_g / ‖w_g‖).

    Parameters
    ----------
    alpha : float
        Strength α, at least 0.
    groups : array of labels (p,), or sequence of index sequences, optional
        Which entries of a vector w belong together: a partition of its p entries.  By default
        the slices of w along ``axis`` are the groups: the channels of a layer's weight.
    axis : int
        The axis whose slices are groups, where ``groups`` is not given.
    weights : array (groups,), optional
        A factor v_g for each group, the square root of its size by default.

    References
    ----------
    Yuan, Lin, "Model selection and estimation in regression with grouped variables", 2006.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> p = eq.penalties.GroupL2(1.0, groups=[[0, 1], [2]], weights=[1.0, 1.0])
    >>> p.prox(np.array([3.0, 4.0, -0.5]), step=2.5)
    array([1.5, 2. , 0. ])
    """

    def __init__(self, alpha: float = 1.0, groups=None, axis: int = 0, weights=None):
        super().__init__(alpha, weights)
        self.groups, self.axis = groups, axis
        self._labels = None if groups is None else labels(groups)

    def value(self, w):
        """Give the penalty of ``w``, a number; float32 at least, where w is narrower."""
        w = _wide(_array(w))
        norms, sizes, _ = self._norms(w)
        return self.alpha * _Penalty._scaled(_with(self, sizes), norms).sum()

    def prox(self, w, step: float):
        """Give the proximal step from ``w`` as a new array of its shape and dtype."""
        w = _array(w)
        wide = _wide(w)
        norms, sizes, spread = self._norms(wide)
        amount = self.alpha * _not_negative("step", step)
        limit = _with(self, sizes)._threshold(norms, amount)
        kept = norms > limit
        share = (norms - limit) / _where(kept, norms, norms * 0 + 1)
        # adding 0 turns -0 into 0
        shrunk = wide * spread(_where(kept, share, norms * 0)) + 0
        return shrunk.astype(w.dtype) if isinstance(w, np.ndarray) else shrunk.to(w.dtype)

    def _norms(self, w):
        """Give the norms of the groups, their sizes, and a map from groups to entries."""
        if self._labels is None:
            return self._slices(w)
        if tuple(w.shape) != self._labels.shape:
            raise ValueError(
                f"w must hold one entry for each label of groups, {self._labels.shape}; got shape "
                f"{tuple(w.shape)}. Leave groups out to take slices along an axis."
            )
        sizes = np.bincount(self._labels)
        where: Any = self._labels
        if isinstance(w, np.ndarray):
            squares = np.bincount(where, w * w, len(sizes)).astype(w.dtype)
            return np.sqrt(squares), sizes, lambda v: v[where]
        import torch

        where = torch.from_numpy(self._labels).to(w.device)
        squares = torch.zeros(len(sizes), dtype=w.dtype, device=w.device)
        squares = squares.index_add(0, where, w * w)
        # the gradient of a root at zero is infinite, that of a norm is 0
        safe = torch.where(squares > 0, squares, torch.ones_like(squares)).sqrt()
        return torch.where(squares > 0, safe, squares), sizes, lambda v: v[where]

    def _slices(self, w):
        if not -w.ndim <= self.axis < w.ndim:
            raise ValueError(f"axis must be one of w's; got axis {self.axis} for {tuple(w.shape)}")
        groups = w.shape[self.axis]
        size = prod(w.shape) // max(groups, 1)
        rows = _to_front(w, self.axis).reshape(groups, size)
        shape = [1] * w.ndim
        shape[self.axis] = groups
        return _norm(rows), np.full(groups, size), lambda v: v.reshape(tuple(shape))


def labels(groups) -> np.ndarray:
    """Give the group of each of p entries, 0 to the number of groups - 1.

    ``groups`` holds p labels, or lists of indices; in order of the labels, or of the lists.

    Raises
    ------
    ValueError
        The lists are no partition: an entry is in none or in several, or a list is empty.

    >>> labels(["b", "a", "b"]), labels([[2, 0], [1]])
    (array([1, 0, 1]), array([0, 1, 0]))
    """
    if len(groups) and all(np.ndim(g) == 0 for g in groups):
        return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    lists = [np.asarray(g, dtype=np.int64).reshape(-1) for g in groups]
    every = np.concatenate(lists) if lists else np.empty(0, np.int64)
    if not all(len(g) for g in lists) or not np.array_equal(np.sort(every), np.arange(len(every))):
        raise ValueError(
            "groups must partition the features: each index from 0 to the last in one list; got "
            f"{_short(groups)}. A feature of its own is a list of one."
        )
    out = np.empty(len(every), np.int64)
    for number, members in enumerate(lists):
        out[members] = number
    return out


def _with(penalty, sizes):
    """Give the penalty's strength and factors, √size where it has none."""
    return _Penalty(penalty.alpha, np.sqrt(sizes) if penalty.weights is None else penalty.weights)


def _soft(w, threshold):
    return w - w.clip(-threshold, threshold)


def _norm(rows):
    if isinstance(rows, np.ndarray):
        return np.linalg.norm(rows, axis=1)
    import torch

    return torch.linalg.vector_norm(rows, dim=1)


def _to_front(w, axis):
    return np.moveaxis(w, axis, 0) if isinstance(w, np.ndarray) else w.movedim(axis, 0)


def _where(condition, a, b):
    if isinstance(condition, np.ndarray | np.bool):
        return np.where(condition, a, b)
    import torch

    return torch.where(condition, a, b)


def _array(w):
    """Give ``w`` as floating-point array or tensor."""
    if hasattr(w, "detach"):
        return w if w.is_floating_point() else w.double()
    w = np.asarray(w)
    return w if w.dtype.kind == "f" else w.astype(np.float64)


def _finite(factors):
    return np.where(factors == np.inf, 0.0, factors)


def _wide(w):
    """Give ``w`` in float32 where its dtype is narrower: sums of halves overflow."""
    if isinstance(w, np.ndarray):
        return w.astype(np.float32) if w.dtype == np.float16 else w
    return w.float() if w.element_size() < 4 else w


def _like(factors, w):
    """Bring ``factors`` to the kind, dtype and device of ``w``."""
    if isinstance(w, np.ndarray):
        return factors.astype(w.dtype, copy=False)
    import torch

    return torch.as_tensor(factors, dtype=w.dtype, device=w.device)


def _factors(weights):
    weights = weights.detach().cpu().numpy() if hasattr(weights, "detach") else weights
    weights = np.asarray(weights, np.float64)
    if not (weights >= 0).all():
        raise ValueError(
            f"weights must be at least 0; got a lowest of {weights.min()}. 0 leaves an entry "
            "free, inf makes it zero."
        )
    return weights


def _not_negative(name, value):
    if not float(value) >= 0:
        raise ValueError(f"{name} must be at least 0; got {value!r}")
    return float(value)


def _short(value):
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) < 60 else text[:57] + "..."

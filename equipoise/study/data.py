"""The data a study trains on: scikit-learn's digits, or a user's arrays, checked."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equipoise.errors import UsageError
from equipoise.study import userfile

DIGITS_TEST = 450
FORM = "(X_train, y_train, X_test, y_test), arrays of NumPy or torch"


@dataclass(frozen=True)
class Data:
    """A split into training and test samples: float32 ``x`` of ``(N, *shape)``, int64 labels."""

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the shape of one sample."""
        return tuple(self.train_x.shape[1:])

    def describe(self) -> dict:
        """Give what the study's record says about the data."""
        return {
            "name": self.name,
            "train": len(self.train_x),
            "test": len(self.test_x),
            "shape": list(self.shape),
            "classes": self.classes,
        }

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Give the training samples at ``rows``."""
        return self.train_x[rows], self.train_y[rows]


def digits() -> Data:
    """Load the 1797 scans of 8x8 that scikit-learn brings, split once and for all.

    >>> digits().describe()
    {'name': 'digits', 'train': 1347, 'test': 450, 'shape': [1, 8, 8], 'classes': 10}
    """
    from sklearn.datasets import load_digits

    pixels, numbers = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(numbers)
    # the split never depends on the study's seed: every trial is tested on the same scans
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, train = order[:DIGITS_TEST], order[DIGITS_TEST:]
    std, mean = torch.std_mean(x[train])
    x = (x - mean) / std
    return Data("digits", x[train], y[train], x[test], y[test], classes=10)


def resolve(source: object, batch_size: int) -> Data:
    """Give the data that a name, a ``FILE.py:make_data``, a function or four arrays stand for."""
    if isinstance(source, Data):
        return source
    if source == "digits":
        data = digits()
    elif isinstance(source, str):
        if ":" not in source and not source.endswith(".py"):
            raise UsageError(f"data {source!r}: write digits or FILE.py:make_data")
        data = check(_call(userfile.load(source, "make_data"), source), source)
    elif callable(source):
        data = check(_call(source, "make_data"), getattr(source, "__name__", "data"))
    else:
        data = check(source, "data")
    if len(data.train_x) < batch_size:
        raise UsageError(
            f"{data.name}: {len(data.train_x)} training samples do not fill one batch of "
            f"{batch_size}; give more samples"
        )
    return data


def _call(function, name: str) -> object:
    with userfile.guard(name), userfile.seeded(0):
        return function()


def check(parts: object, name: str) -> Data:
    """Turn four arrays into `Data`, or say what is wrong with them."""
    if not isinstance(parts, tuple | list) or len(parts) != 4:
        came = f"{len(parts)} items" if isinstance(parts, tuple | list) else type(parts).__name__
        raise UsageError(f"{name}: {FORM} are needed, {came} came")
    train_x = _samples(parts[0], f"{name}: X_train")
    train_y = _labels(parts[1], f"{name}: y_train", len(train_x))
    test_x = _samples(parts[2], f"{name}: X_test")
    test_y = _labels(parts[3], f"{name}: y_test", len(test_x))
    if train_x.shape[1:] != test_x.shape[1:]:
        shapes = f"{tuple(train_x.shape[1:])} and {tuple(test_x.shape[1:])}"
        raise UsageError(f"{name}: training and test samples must have one shape, {shapes} came")
    return Data(name, train_x, train_y, test_x, test_y, _classes(train_y, test_y, name))


def _tensor(value: object, name: str) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(_native(value))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name}: an array of numbers is needed, {type(value).__name__} came"
        ) from error
    if tensor.is_complex() or tensor.layout != torch.strided:
        raise UsageError(f"{name}: a dense array of real numbers is needed, {tensor.dtype} came")
    return tensor.detach().cpu()


def _native(value: object) -> np.ndarray:
    """Copy into this machine's byte order, the only one that torch reads."""
    array = np.array(value)
    return array.astype(array.dtype.newbyteorder("="))


def _samples(value: object, name: str) -> Tensor:
    tensor = _tensor(value, name)
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise UsageError(
            f"{name}: samples of shape (N, features) or (N, channels, height, width) are needed, "
            f"shape {tuple(tensor.shape)} came"
        )
    tensor = tensor.to(torch.float32).contiguous()
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise UsageError(f"{name}: {bad} values are NaN or infinite as float32; remove them")
    return tensor


def _labels(value: object, name: str, samples: int) -> Tensor:
    tensor = _tensor(value, name)
    if tuple(tensor.shape) != (samples,):
        hint = "; for one-hot labels give argmax(axis=1)" if tensor.ndim == 2 else ""
        raise UsageError(
            f"{name}: one class number a sample is needed, shape ({samples},), "
            f"shape {tuple(tensor.shape)} came{hint}"
        )
    if tensor.dtype == torch.bool or (tensor.is_floating_point() and not _is_whole(tensor)):
        raise UsageError(
            f"{name}: whole class numbers 0, 1, 2, ... are needed, {tensor.dtype} came"
        )
    return tensor.to(torch.int64).contiguous()


def _is_whole(tensor: Tensor) -> bool:
    return bool((tensor.isfinite() & (tensor == tensor.round())).all())


def _classes(train: Tensor, test: Tensor, name: str) -> int:
    low, high = int(train.min()), int(train.max())
    if low != 0 or high < 1:
        raise UsageError(
            f"{name}: y_train must hold at least two classes numbered from 0, {low} to {high} came"
        )
    if int(test.min()) < 0 or int(test.max()) > high:
        raise UsageError(
            f"{name}: y_test holds {int(test.min())} to {int(test.max())}, y_train 0 to {high}; "
            "each class must be in y_train"
        )
    return high + 1

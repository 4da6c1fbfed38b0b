"""Digits, a user's arrays, and everything that can be wrong with them."""

import numpy as np
import pytest
import torch

from equipoise.errors import UsageError
from equipoise.study.data import check, digits, resolve


def test_digits_are_standardized_and_split_once():
    data = digits()
    assert data.describe()["train"] + data.describe()["test"] == 1797
    assert data.train_x.mean().item() == pytest.approx(0, abs=1e-5)
    assert data.train_x.std().item() == pytest.approx(1, abs=1e-5)
    assert set(data.train_y.tolist()) == set(range(10)) == set(data.test_y.tolist())
    torch.testing.assert_close(digits().test_x, data.test_x, rtol=0, atol=0)


def test_no_scan_is_in_both_splits():
    data = digits()
    train = {tuple(x.flatten().tolist()) for x in data.train_x}
    assert not any(tuple(x.flatten().tolist()) in train for x in data.test_x)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x,
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x.numpy()[::-1],
        lambda x: x.numpy().astype(">f8"),
        lambda x: x.double().requires_grad_(),
    ],
)
def test_samples_in_any_container(arrays, convert):
    x, y, test_x, test_y = arrays
    data = check((convert(x), y, test_x, test_y), "data")
    assert data.train_x.dtype == torch.float32
    assert not data.train_x.requires_grad
    assert data.shape == (6,)
    assert data.classes == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_labels_of_any_whole_dtype(arrays, dtype):
    x, y, test_x, test_y = arrays
    data = check((x, y.numpy().astype(dtype), test_x, test_y), "data")
    assert data.train_y.dtype == torch.int64
    assert data.train_y.tolist() == y.tolist()


def _replaced(position, value):
    def change(arrays):
        parts = list(arrays)
        parts[position] = value(parts[position])
        return tuple(parts)

    return change


WRONG = {
    "three items": (lambda a: a[:3], "are needed, 3 items came"),
    "nothing": (lambda a: None, "are needed, NoneType came"),
    "an array": (lambda a: a[0], "are needed, Tensor came"),
    "words": (_replaced(0, lambda x: [["a"] * 6] * 96), "X_train: an array of numbers"),
    "ragged": (_replaced(0, lambda x: [[1.0], [1.0, 2.0]]), "X_train: an array of numbers"),
    "objects": (_replaced(0, lambda x: np.array([None] * 96)), "X_train: an array of numbers"),
    "complex": (_replaced(0, lambda x: x + 0j), "X_train: a dense array of real numbers"),
    "sparse": (_replaced(0, lambda x: x.to_sparse()), "X_train: a dense array of real numbers"),
    "one axis": (_replaced(0, lambda x: x[:, 0]), r"X_train: samples .* shape \(96,\) came"),
    "no samples": (_replaced(2, lambda x: x[:0]), r"X_test: samples .* shape \(0, 6\) came"),
    "no features": (_replaced(0, lambda x: x[:, :0]), r"X_train: samples .* shape \(96, 0\)"),
    "nan": (_replaced(0, lambda x: x.log()), "X_train: [0-9]+ values are NaN or infinite"),
    "inf": (_replaced(2, lambda x: x / 0), "X_test: [0-9]+ values are NaN or infinite"),
    "huge": (_replaced(0, lambda x: 1e300 * x.double()), "X_train: 576 values are NaN or inf"),
    "short labels": (_replaced(1, lambda y: y[:-1]), r"shape \(96,\), shape \(95,\) came"),
    "one-hot": (_replaced(1, lambda y: torch.eye(3)[y]), r"shape \(96, 3\) came; .*argmax"),
    "half labels": (_replaced(1, lambda y: y + 0.5), "class numbers 0, 1, 2"),
    "nan labels": (_replaced(1, lambda y: y * float("nan")), "class numbers 0, 1, 2"),
    "booleans": (_replaced(1, lambda y: y > 0), r"class numbers .* torch\.bool came"),
    "named labels": (_replaced(1, lambda y: ["cat"] * 96), "y_train: an array of numbers"),
    "negative": (_replaced(1, lambda y: y - 1), "numbered from 0, -1 to 1 came"),
    "from one": (_replaced(1, lambda y: y + 1), "numbered from 0, 1 to 3 came"),
    "one class": (_replaced(1, lambda y: 0 * y), "at least two classes .* 0 to 0 came"),
    "new class": (_replaced(3, lambda y: y + 1), "y_test holds 1 to 3, y_train 0 to 2"),
    "below": (_replaced(3, lambda y: y - 1), "y_test holds -1 to 1"),
    "other shape": (_replaced(2, lambda x: x[:, :5]), r"one shape, \(6,\) and \(5,\) came"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(arrays, case):
    change, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        check(change(arrays), "data")


def test_too_few_samples_for_a_batch(arrays):
    with pytest.raises(UsageError, match="96 training samples do not fill one batch of 128"):
        resolve(arrays, 128)


def test_a_function_that_gives_the_data(arrays):
    assert resolve(lambda: arrays, 32).classes == 3


def test_a_function_that_raises():
    def make_data():
        raise OSError("no disk")

    with pytest.raises(UsageError, match=r"make_data raised OSError: no disk \(test_study_data"):
        resolve(make_data, 32)


def test_data_that_draws_random_numbers_is_the_same_each_time():
    def make_data():
        x = np.random.rand(64, 4)  # noqa: NPY002 (users write this)
        y = np.arange(64) % 2
        return x, y, x, y

    first, second = resolve(make_data, 32), resolve(make_data, 32)
    torch.testing.assert_close(first.train_x, second.train_x, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["mnist", "", "digit"])
def test_an_unknown_name(name):
    with pytest.raises(UsageError, match=r"write digits or FILE\.py:make_data"):
        resolve(name, 32)

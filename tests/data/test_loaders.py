"""torch's Datasets and DataLoaders: batches of tensors, tuples and dicts, images by channel."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from equipoise.data import chunks
from equipoise.errors import UsageError

X = torch.randn(101, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(101)
IMAGES = torch.randn(20, 3, 5, 4, generator=torch.Generator().manual_seed(1))


class Samples(Dataset):
    """A map-style dataset of what ``give`` makes of a row's number."""

    def __init__(self, give, length=101):
        self.give, self.length = give, length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return self.give(i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


def whole(source, **options):
    parts = list(chunks(source, **options))
    return [np.concatenate([p[i] for p in parts]) for i in (0, 2)[: len(parts[0]) - 1]]


SOURCES = {
    "TensorDataset": lambda: TensorDataset(X, Y),
    "Dataset": lambda: Samples(lambda i: (X[i], Y[i])),
    "DataLoader": lambda: DataLoader(TensorDataset(X, Y), batch_size=8),
    "workers": lambda: DataLoader(TensorDataset(X, Y), batch_size=8, num_workers=1),
    "iterator": lambda: iter(DataLoader(TensorDataset(X, Y), batch_size=8)),
    "tuples": lambda: ((X[i : i + 10], Y[i : i + 10]) for i in range(0, 101, 10)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_first_part_of_a_batch_is_the_rows(name):
    (found,) = whole(SOURCES[name]())
    np.testing.assert_array_equal(found, X.numpy())


@pytest.mark.parametrize("name", SOURCES)
def test_y_is_the_position_of_the_target(name):
    found, y = whole(SOURCES[name](), y=1, columns=[2, 0])
    np.testing.assert_array_equal(found, X[:, [2, 0]].numpy())
    np.testing.assert_array_equal(y, Y.numpy())


@pytest.mark.parametrize("y", ["label", 2, 0, -1])
def test_a_target_that_is_not_there(y):
    with pytest.raises(UsageError, match="y must be the position of the target"):
        list(chunks(TensorDataset(X, Y), y=y))


@pytest.mark.parametrize(
    "source", [Samples(lambda i: X[i]), Stream(), DataLoader(Stream(), batch_size=7)]
)
def test_samples_without_a_target(source):
    np.testing.assert_array_equal(whole(source)[0], X.numpy())


def test_samples_that_are_dicts():
    source = Samples(lambda i: {"a": X[i, 0], "b": X[i, 1], "c": Y[i]})
    found, y = whole(source, columns=["b", "a"], y="c")
    np.testing.assert_array_equal(found, X[:, [1, 0]].numpy())
    np.testing.assert_array_equal(y, Y.numpy())


def test_an_image_within_a_dict():
    source = Samples(lambda i: {"image": IMAGES[i], "label": i}, 20)
    (found,) = whole(source, columns="image", axis=(0, 2, 3))
    np.testing.assert_array_equal(found, IMAGES.permute(0, 2, 3, 1).reshape(-1, 3).numpy())


@pytest.mark.parametrize(
    "source", [IMAGES, IMAGES.numpy(), TensorDataset(IMAGES), DataLoader(IMAGES, batch_size=20)]
)
def test_the_axes_of_images_become_rows(source):
    (found,) = whole(source, axis=(0, 2, 3))
    np.testing.assert_array_equal(found, IMAGES.permute(0, 2, 3, 1).reshape(-1, 3).numpy())


def test_images_without_axes_are_told_how():
    with pytest.raises(UsageError, match=r"shape \(20, 3, 5, 4\).*axis=\(0, 2, 3\)"):
        list(chunks(DataLoader(IMAGES, batch_size=20)))


@pytest.mark.parametrize("axis", [0, "x", (0, "x"), (0, 1.0), (True,)])
def test_axes_that_are_none(axis):
    with pytest.raises(UsageError, match="axis must be a tuple of ints"):
        chunks(IMAGES, axis=axis)


@pytest.mark.parametrize("axis", [(2, 3), (0, 7), (0, 0)])
def test_axes_that_do_not_fit(axis):
    with pytest.raises(UsageError, match="axis must name axes"):
        list(chunks(IMAGES, axis=axis))


def test_a_batch_without_parts():
    with pytest.raises(UsageError, match="empty tuple"):
        list(chunks(iter([()])))


def test_a_dataset_of_splits():
    datasets = pytest.importorskip("datasets", reason="a source of Hugging Face's datasets")
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"a": [1.0]})})
    with pytest.raises(UsageError, match="choose one of 'train'"):
        list(chunks(splits))

"""Small data, small settings and hand-made trials for the study's tests."""

import pytest
import torch

from equipoise.study.data import Data
from equipoise.study.records import Trial
from equipoise.study.settings import settle


def blobs(samples: int = 96, classes: int = 3, shape: tuple[int, ...] = (6,)) -> tuple:
    """Give classes that lie apart by a few standard deviations, as four arrays."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2 * samples) % classes
    centres = 2 * torch.randn(classes, *shape, generator=generator)
    x = centres[y] + torch.randn(2 * samples, *shape, generator=generator)
    return x[:samples], y[:samples], x[samples:], y[samples:]


@pytest.fixture(autouse=True)
def _one_thread():
    """Train as a study does: small tensors only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def arrays() -> tuple:
    """Give table data as torch tensors."""
    return blobs()


@pytest.fixture
def data() -> Data:
    """Give checked table data of three classes."""
    train_x, train_y, test_x, test_y = blobs()
    return Data("blobs", train_x, train_y, test_x, test_y, classes=3)


@pytest.fixture
def tiny():
    """Give settings for a trial of 18 steps."""
    return settle(["none"], lrs=[0.1], seeds=1, epochs=6, batch_size=32)


@pytest.fixture
def trial():
    """Make a finished trial by hand: accuracies are those after 5, 10, 15 ... steps."""

    def make(norm, lr, seed, accuracies, status="done", seconds=0.001) -> Trial:
        steps = [5 * (i + 1) for i in range(len(accuracies))]
        return Trial(
            norm,
            lr,
            seed,
            status=status,
            diverged_at=7 if status == "diverged" else None,
            eval_steps=steps,
            test_accuracy=list(accuracies),
            seconds_per_step=seconds,
        )

    return make

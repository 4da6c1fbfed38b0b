"""Networks are built from one seed, and checked before any training."""

import pytest
import torch
from torch import nn

from equipoise.errors import UsageError
from equipoise.study import models
from equipoise.study.data import Data
from equipoise.study.norms import available


def _images(channels=1, size=8, classes=4) -> Data:
    x, y = torch.randn(16, channels, size, size), torch.arange(16) % classes
    return Data("images", x, y, x, y, classes)


def _build(make_model, norm="torch_batch", seed=0):
    return models.build(make_model, available()[norm], seed, "make_model")


@pytest.mark.parametrize("norm", ["none", "torch_batch"])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 17])
def test_the_default_takes_images_of_any_size(size, norm):
    data = _images(channels=3, size=size)
    built = _build(models.default(data), norm)
    models.check(built, data, 16, "default")
    assert list(built.sites) == ["norm1_1", "norm1_2", "norm2_1", "norm2_2", "norm3_1"]


def test_the_default_takes_tables(data):
    built = _build(models.default(data))
    models.check(built, data, 32, "default")
    assert list(built.sites) == ["norm1", "norm2", "norm3"]


def test_the_default_says_which_shapes_it_takes():
    x, y = torch.randn(8, 3, 5), torch.arange(8) % 2
    with pytest.raises(UsageError, match=r"samples have shape \(3, 5\).*give --model"):
        models.default(Data("series", x, y, x, y, 2))


def test_weights_come_from_the_seed_alone(data):
    make_model = models.default(data)
    one = _build(make_model, "none", 1)
    torch.manual_seed(99)
    assert models.are_paired([one, _build(make_model, "torch_batch", 1)])
    assert not models.are_paired([one, _build(make_model, "none", 2)])


def test_norms_that_draw_random_numbers_are_found_out(data):
    def make_model(norm):
        extra = nn.Linear(3, 3) if type(norm(6, 1)) is nn.BatchNorm1d else nn.Identity()
        return nn.Sequential(extra, norm(6, 1), nn.Linear(6, 3))

    assert not models.are_paired([_build(make_model, "none"), _build(make_model)])


def _closed(norm):
    model = nn.Sequential(norm(6, 1), nn.Linear(6, 3))
    model.forward = lambda x: torch.zeros(len(x), 3)
    return model


def _unused(norm):
    model = nn.Sequential(nn.Linear(6, 3))
    model.norm = norm(6, 1)
    model.forward = lambda x: model[0](x)
    return model


class _Pair(nn.Sequential):
    def forward(self, x):
        return super().forward(x), 0


WRONG = {
    "raises": (
        lambda norm: 1 / 0,
        r"make_model raised ZeroDivisionError: .*\(test_study_models\.py",
    ),
    "exits": (lambda norm: exit(1), "make_model raised SystemExit: 1"),
    "takes nothing": (lambda: None, "make_model raised TypeError: .*takes 0 positional"),
    "gives nothing": (lambda norm: None, r"must return a torch\.nn\.Module, NoneType came"),
    "gives the class": (lambda norm: nn.Linear, r"must return a torch\.nn\.Module, type came"),
    "has no parameters": (lambda norm: nn.Identity(), "without parameters to train"),
    "ignores the factory": (lambda norm: nn.Linear(6, 3), r"never calls norm\(num_features"),
    "drops the norm": (lambda norm: (norm(6, 1), nn.Linear(6, 3))[1], "holds none of its norms"),
    "wrong dims": (lambda norm: nn.Sequential(norm(6, 5), nn.Linear(6, 3)), "dims is 1, 2 or 3"),
    "does not call it": (_unused, "no norm is called in forward"),
    "constant": (_closed, "does not depend on the parameters"),
    "wrong features": (
        lambda norm: nn.Sequential(norm(6, 1), nn.Linear(5, 3)),
        r"the network on a batch of shape \(32, 6\) raised RuntimeError",
    ),
    "images for tables": (
        lambda norm: nn.Sequential(nn.Conv2d(1, 4, 3), norm(4)),
        r"the network on a batch of shape \(32, 6\) raised RuntimeError",
    ),
    "too wide": (
        lambda norm: nn.Sequential(norm(6, 1), nn.Linear(6, 4)),
        r"shape \(32, 3\) for a batch of 32, shape \(32, 4\) came",
    ),
    "too narrow": (
        lambda norm: nn.Sequential(norm(6, 1), nn.Linear(6, 1), nn.Flatten(0)),
        r"shape \(32, 3\) for a batch of 32, shape \(32,\) came",
    ),
    "a pair": (lambda norm: _Pair(norm(6, 1), nn.Linear(6, 3)), "a tensor of floats.*tuple came"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(data, case):
    make_model, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        models.check(_build(make_model), data, 32, "make_model")


def test_check_takes_its_hooks_off_even_after_an_error(data):
    built = _build(lambda norm: nn.Sequential(norm(6, 1), nn.Linear(5, 3)))
    with pytest.raises(UsageError):
        models.check(built, data, 32, "make_model")
    assert not built.sites["0"]._forward_pre_hooks


def test_choose_names_the_model(data):
    def mine(norm): ...

    assert models.choose(mine, data) == (mine, "mine")
    assert models.choose(None, data)[1] == "the study's small network"
    with pytest.raises(UsageError, match="a function is needed, int came"):
        models.choose(3, data)

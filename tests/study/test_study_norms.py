"""The table of norms: names, suggestions, factories, and rows that are still to come."""

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise.errors import UsageError
from equipoise.study.norms import Sites, Unnormalized, available, choose, fitting, groups


def test_the_names_now():
    names = list(available())
    assert names[0] == "none"
    assert names[-1] == "torch_batch"
    assert names[1:-1] == ["batch", "layer", "rms", "group", "instance", "response"]


def test_batch_is_ours_and_torch_batch_is_torchs():
    known = available()
    for dims in (1, 2, 3):
        ours, torchs = known["batch"](4, dims), known["torch_batch"](4, dims)
        assert type(ours) is getattr(eq.nn, f"BatchNorm{dims}d")
        assert type(torchs) is getattr(nn, f"BatchNorm{dims}d")


@pytest.mark.parametrize("name", ["batch", "layer", "rms", "group"])
@pytest.mark.parametrize("shape", [(5, 16), (5, 16, 3), (5, 16, 4, 3), (5, 16, 2, 2, 3)])
def test_every_row_normalizes_every_shape(name, shape):
    norm = available()[name](16, max(1, len(shape) - 2))
    x = 3 + torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y = norm(x)
    assert y.shape == x.shape
    assert y.square().mean().sqrt().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["instance", "response"])
@pytest.mark.parametrize("shape", [(5, 16, 9), (5, 16, 4, 3), (5, 16, 2, 2, 3)])
def test_rows_over_positions(name, shape):
    x = 3 + torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y = available()[name](16, len(shape) - 2)(x)
    square = y.square().mean(tuple(range(2, len(shape))))
    torch.testing.assert_close(square, torch.ones_like(square), atol=1e-3, rtol=0)


def test_rows_over_positions_are_left_out_for_tables():
    names = list(available())
    assert "instance" not in fitting(names, (64,))
    assert "response" not in fitting(names, (64,))
    assert fitting(names, (1, 8, 8)) == tuple(names)


def test_torchs_classes_make_the_same_rows():
    assert "response" not in available(nn)
    assert isinstance(available(nn)["instance"](4, 2), nn.InstanceNorm2d)


def test_layer_norm_reduces_the_channels_of_each_position():
    x = torch.randn(3, 8, 4, 5)
    y = available(nn)["layer"](8, 2)(x)
    expected = nn.functional.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("channels", range(1, 130))
def test_groups_divide_the_channels(channels):
    assert channels % groups(channels) == 0
    assert groups(channels) == 1 or channels // groups(channels) >= 4


def test_choose_splits_strips_and_drops_repetitions():
    assert list(choose(["none, torch_batch", "none"])) == ["none", "torch_batch"]
    assert list(choose("torch_batch,none")) == ["torch_batch", "none"]
    assert list(choose(None)) == list(available())


def test_choose_takes_a_mapping():
    chosen = choose({"mine": lambda channels, dims: nn.Identity()})
    assert list(chosen) == ["mine"]


def test_an_unknown_norm_names_the_nearest():
    with pytest.raises(UsageError, match=r"unknown norm 'torch_bach'\. Did you mean torch_batch"):
        choose(["torch_bach"])
    with pytest.raises(UsageError, match="The norms are none,"):
        choose(["xyz"])


@pytest.mark.parametrize("wanted", ["", ",", [], [" "], {}])
def test_no_norm_at_all(wanted):
    with pytest.raises(UsageError, match="no norm is named"):
        choose(wanted)


@pytest.mark.parametrize("wanted", [{"": nn.Identity}, {"a": 3}, {3: nn.Identity}])
def test_a_mapping_that_is_none(wanted):
    with pytest.raises(UsageError, match="a norm is a name and a function"):
        choose(wanted)


@pytest.mark.parametrize("features", [0, -1, 1.5, "8", None])
def test_wrong_num_features(features):
    with pytest.raises(UsageError, match="a positive int is needed"):
        Sites(available()["none"])(features)


@pytest.mark.parametrize("dims", [0, 4, "2"])
def test_wrong_dims(dims):
    with pytest.raises(UsageError, match="dims is 1, 2 or 3"):
        Sites(available()["none"])(8, dims=dims)


def test_a_factory_that_gives_no_module():
    with pytest.raises(UsageError, match=r"must give a torch\.nn\.Module"):
        Sites(lambda channels, dims: 3)(8)


def test_sites_are_named_as_in_the_model():
    sites = Sites(available()["none"])
    model = nn.Sequential(nn.Linear(2, 2), sites(2, 1), nn.Sequential(sites(2, 1)))
    unused = sites(2, 1)
    found = sites.within(model)
    assert list(found) == ["1", "2.0"]
    assert all(isinstance(site, Unnormalized) for site in found.values())
    assert unused not in found.values()

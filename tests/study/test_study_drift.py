"""Drift of a layer's input, against a formula written out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise.study.drift import Drift, change, channels_last


def _moments(x):
    return eq.Moments.of(channels_last(torch.as_tensor(x)), nan="propagate")


def test_change_of_two_channels_by_hand():
    a = np.random.default_rng(0).normal(size=(400, 2))
    b = np.array([3.0, 1.0]) * a + np.array([0.0, 2.0])
    mean, std = a.mean(0), a.std(0)
    apart = [
        2 * mean[0] / (std[0] * np.sqrt((1 + 9) / 2)),
        2 / std[1],
    ]
    shift, ratio = change(_moments(a), _moments(b))
    assert shift == pytest.approx(np.sqrt(np.mean(np.square(apart))), rel=1e-5)
    assert ratio == pytest.approx(np.exp(np.sqrt(np.log(3) ** 2 / 2)), rel=1e-5)


def test_the_ratio_has_no_direction():
    a = torch.randn(50, 3)
    up, down = change(_moments(a), _moments(4 * a)), change(_moments(4 * a), _moments(a))
    assert up == down
    assert up[1] == pytest.approx(4, rel=1e-5)


def test_the_same_batch_has_not_moved():
    a = torch.randn(50, 3)
    assert change(_moments(a), _moments(a)) == (0.0, 1.0)


def test_constant_channels_count_nowhere():
    a = torch.randn(50, 3)
    dead = torch.cat([a, torch.zeros(50, 1)], 1)
    assert change(_moments(dead), _moments(2 * dead + 1)) == change(
        _moments(a), _moments(2 * a + 1)
    )
    assert change(_moments(torch.zeros(5, 2)), _moments(torch.ones(5, 2))) == (None, None)


def test_what_is_not_finite_has_no_drift():
    a = torch.randn(50, 1)
    assert change(_moments(a), _moments(a * float("nan"))) == (None, None)
    assert change(_moments(a), _moments(a / 0)) == (None, None)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 4, 2), (5, 3, 2, 2, 2)])
def test_rows_are_all_positions_of_all_samples(shape):
    x = torch.randn(shape)
    rows = channels_last(x)
    assert rows.shape == (x.numel() // 3, 3)
    torch.testing.assert_close(rows.mean(0), x.transpose(0, 1).flatten(1).mean(1))


def _step(drift, model, x):
    drift.active = True
    model(x)
    drift.active = False
    drift.close_step()


def test_each_step_is_compared_with_the_last():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    x = torch.randn(20, 3)
    with Drift({"site": model[0]}) as drift:
        _step(drift, model, x.clone())
        _step(drift, model, x.clone())
        model(100 + x)
        _step(drift, model, 2 * x)
    lists = drift.layers["site"]
    assert lists["mean_shift"][:2] == [None, 0.0]
    assert lists["std_ratio"][:2] == [None, 1.0]
    # what ran while inactive is not seen, nor what an in-place ReLU did to the input later
    assert (lists["mean_shift"][2], lists["std_ratio"][2]) == change(_moments(x), _moments(2 * x))
    assert not model[0]._forward_pre_hooks


def test_a_layer_called_twice_has_seen_both_inputs():
    site = nn.Identity()
    a, b, c = torch.randn(3, 20, 3)
    with Drift({"site": site}) as drift:
        _step(drift, lambda x: (site(x[:10]), site(input=x[10:])), a)
        _step(drift, lambda x: (site(x), site(c)), b)
    expected = change(_moments(a), _moments(torch.cat([b, c])))
    assert drift.layers["site"]["mean_shift"][1] == pytest.approx(expected[0], rel=1e-5)
    assert drift.layers["site"]["std_ratio"][1] == pytest.approx(expected[1], rel=1e-5)


def test_a_layer_that_is_skipped_has_no_drift():
    site = nn.Identity()
    with Drift({"site": site}) as drift:
        _step(drift, site, torch.randn(9, 2))
        _step(drift, lambda x: x, torch.randn(9, 2))
        _step(drift, site, torch.randn(9, 2))
    assert drift.layers["site"]["mean_shift"] == [None, None, None]

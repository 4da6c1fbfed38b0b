"""Steps are timed in turns; a clock made by hand shows the arithmetic."""

import pytest
import torch

from equipoise.study import models, timing
from equipoise.study.norms import available


def _builds(data, *names):
    make_model = models.default(data)
    return {name: models.build(make_model, available()[name], 0, "m") for name in names}


def test_each_norm_gets_a_time(data, tiny):
    seconds = timing.race(_builds(data, "none", "torch_batch"), data, tiny, 0)
    assert list(seconds) == ["none", "torch_batch"]
    assert all(0 < value < 10 for value in seconds.values())


def test_the_median_of_the_rounds_without_the_first(data, tiny, monkeypatch):
    taken = iter([100.0] + [3.0, 1.0, 50.0] * (timing.ROUNDS // 3))
    monkeypatch.setattr(timing, "_steps", lambda built, optimizer, some: next(taken))
    assert timing.race(_builds(data, "none"), data, tiny, 0) == {"none": 3.0 / timing.STEPS}


def test_norms_take_turns_in_going_first(data, tiny, monkeypatch):
    builds, order = _builds(data, "none", "torch_batch"), []
    names = {id(built): name for name, built in builds.items()}
    monkeypatch.setattr(timing, "_steps", lambda built, *_: order.append(names[id(built)]) or 1.0)
    timing.race(builds, data, tiny, 0)
    assert order[:4] == ["none", "torch_batch", "torch_batch", "none"]


def test_it_stops_where_it_is_asked_to(data, tiny):
    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timing.race(_builds(data, "none"), data, tiny, 0, check)


def test_timed_networks_hardly_move(data, tiny):
    builds = _builds(data, "none")
    before = [p.clone() for p in builds["none"].model.parameters()]
    timing.race(builds, data, tiny, 0)
    for p, q in zip(before, builds["none"].model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-3)

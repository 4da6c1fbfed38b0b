"""Ratios, geometric means, worst points, targets: the arithmetic of a report."""

import doctest
import math

import bench_fakes as fakes
import pytest

from benchmarks import summary, timing
from benchmarks.model import Entry, Target
from benchmarks.summary import (
    geomean,
    group_rows,
    lowest_ratio,
    over_limit,
    point_rows,
    ratio,
    target_rows,
    worst_limit,
    worst_ratio,
)

TWO = [
    fakes.result("fast", (1.0, 1.0), (4.0, 2.0), limit=0.5),
    fakes.result("slow", (2.0, 1.0), (1.0, 1.0), limit=0.5),
]
ONE = [
    fakes.result("fast", (2.0, 2.0), (4.0, 4.0), threads=1),
    fakes.result("slow", (1.0, 1.0), (8.0, 8.0), threads=1),
]


def everything(tags):
    return True


def test_ratio_is_the_peer_over_ours():
    assert ratio(TWO[0], "peer") == 4.0
    assert ratio(TWO[0], "peer", "p10") == 2.0
    assert math.isnan(ratio(TWO[0], "nobody"))


def test_a_failed_contender_has_no_ratio():
    result = fakes.result("p", (1.0, 1.0), (2.0, 2.0))
    result.entries["peer"] = Entry("peer", "ours", failed="no compiler")
    assert math.isnan(ratio(result, "peer"))


def test_compiled_peers_are_divided_by_ours_compiled():
    result = fakes.result("p", (1.0, 1.0), (2.0, 2.0))
    result.entries["ours compiled"] = Entry("ours", "ours", 4.0, 4.0)
    result.entries["torch compiled"] = Entry("peer", "ours compiled", 2.0, 2.0)
    assert ratio(result, "torch compiled") == 0.5
    (row,) = point_rows([result], "torch compiled")
    assert row["ours"] == 4.0
    # ours eager is reported apart: 2 seconds over 1
    assert row["eager"] == 2.0


@pytest.mark.parametrize("module", [summary, timing])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_over_limit():
    assert over_limit(TWO[0]) == 2.0


def test_geometric_means():
    assert geomean([2.0, 8.0]) == pytest.approx(4.0)
    assert geomean([2.0, 8.0, float("nan")]) == pytest.approx(4.0)
    assert math.isnan(geomean([]))


def test_group_rows():
    (row,) = group_rows(fakes.benchmark(), TWO + ONE)
    assert row["points"] == 2
    assert row["median"] == pytest.approx(math.sqrt(4.0 * 0.5))
    assert row["p10"] == pytest.approx(math.sqrt(2.0 * 1.0))
    assert row["one thread"] == pytest.approx(4.0)
    assert (row["worst"], row["worst point"]) == (0.5, "slow")


def test_point_rows_set_the_columns_side_by_side():
    second = [fakes.result("fast", (1.0, 1.0), (3.0, 3.0))]
    rows = point_rows(TWO + ONE, "peer", second)
    assert [r["one thread"] for r in rows] == [2.0, 8.0]
    assert rows[0]["default malloc"] == 3.0
    assert math.isnan(rows[1]["default malloc"])


def test_the_limit_of_a_tiny_tensor_is_not_shown():
    (row,) = point_rows([fakes.result("p", (1.0, 1.0), (1.0, 1.0), limit=1e-9, size=64)], "peer")
    assert math.isnan(row["limit"])


def test_targets():
    geo, never = target_rows(fakes.benchmark(), TWO)
    assert (geo["verdict"], geo["value"]) == ("not reached", pytest.approx(math.sqrt(2)))
    assert (never["verdict"], never["value"], never["point"]) == ("not reached", 0.5, "slow")
    geo, never = target_rows(fakes.benchmark(), TWO[:1])
    assert (geo["verdict"], never["verdict"]) == ("reached", "reached")
    geo, never = target_rows(fakes.benchmark(), [])
    assert geo["verdict"] == never["verdict"] == "no points"


def test_never_slower_excuses_points_where_the_peer_is_inaccurate():
    excused = fakes.result("slow", (2.0, 2.0), (1.0, 1.0), accurate=False)
    low, point = worst_ratio("peer", everything)([TWO[0], excused])
    assert (low, point) == (4.0, "fast (1 inaccurate points of the peer excused, lowest 0.50)")


def test_a_bar_above_one_excuses_no_point():
    excused = fakes.result("slow", (2.0, 2.0), (1.0, 1.0), accurate=False)
    assert lowest_ratio("peer", everything)([TWO[0], excused]) == (0.5, "slow")


def test_the_limit_target_looks_at_large_tensors_only():
    small = fakes.result("small", (9.0, 9.0), (1.0, 1.0), limit=0.5, size=100)
    target = Target("limit", worst_limit(everything, 10**6), 2.0, at_least=False)
    value, name = target.value([TWO[0], small])
    assert (value, name) == (2.0, "fast")
    assert target.reached(2.0)
    assert not target.reached(2.1)

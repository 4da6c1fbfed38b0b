"""The benchmarks of scaling: each contender runs, and what it found is judged by float64."""

import pytest

from benchmarks import scaling, streaming

TASKS = {point.tags["task"]: point for point in scaling.points(quick=True)}


def judged(case):
    """Give (contender, its errors over their bars)."""
    for contender in case.contenders:
        outputs = contender.build().probe()
        yield contender, [error / bar for error, bar in case.errors(outputs).values()]


@pytest.mark.parametrize("task", [t for t in TASKS if "sketch" not in t])
def test_scaling_is_within_its_bars(task):
    for contender, errors in judged(scaling.ScalingCase(TASKS[task], False)):
        assert contender.role == "peer" or max(errors) <= 1, contender.name


@pytest.mark.parametrize("point", streaming.points(quick=True), ids=lambda p: p.tags["dtype"])
def test_streaming_is_within_its_bars(point):
    case = streaming.StreamingCase(point, False)
    for contender, errors in judged(case):
        assert contender.role == "peer" or max(errors) <= 1, contender.name
    (megabytes,) = streaming.extras(point, case).values()
    assert megabytes > 0
    # the folder is kept for the next case
    streaming.folder(point.tags["rows"], point.tags["dtype"])[0].cleanup()
    streaming.folder.cache_clear()

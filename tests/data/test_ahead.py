"""Working ahead keeps the order, tells errors in their place, and leaves no thread behind."""

import threading
import time

import pytest
import torch

from equipoise.data.ahead import ahead, in_order


def left():
    return [t for t in threading.enumerate() if t.name == "equipoise-read"]


def unit(number, fail=None):
    """Give ten numbers, slower for even units; ``fail`` raises behind that many."""

    def items():
        for i in range(10):
            if i == fail:
                raise OSError(f"unit {number}")
            time.sleep(0.001 if number % 2 == 0 else 0)
            yield 10 * number + i

    return items


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("depth", [1, 64])
def test_the_order_stays(workers, depth):
    found = list(in_order((unit(n) for n in range(9)), workers, depth))
    assert found == list(range(90))
    assert not left()


@pytest.mark.parametrize("workers", [1, 3])
def test_errors_stand_where_the_item_would(workers):
    seen = []
    found = in_order([unit(0), unit(1), unit(2, 4), unit(3, 0)], workers)
    with pytest.raises(OSError, match="unit 2"):
        any(map(seen.append, found))
    assert seen == list(range(24))
    assert not left()


def test_units_that_cannot_be_listed():
    def units():
        yield unit(0)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(in_order(units(), 2))
    assert not left()


@pytest.mark.parametrize(
    "make", [lambda: in_order(map(unit, range(9)), 2, 1), lambda: ahead(unit(0)())]
)
def test_who_stops_early_leaves_no_thread(make):
    found = make()
    assert next(found) == 0
    found.close()
    assert not left()


def test_nothing_to_do():
    assert list(in_order([], 2)) == list(ahead(iter(()))) == []


def test_threads_of_torch_are_as_before(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
    import pyarrow.parquet as pq

    from equipoise.preprocessing import StandardScaler

    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "a.parquet")
    before = torch.get_num_threads()
    StandardScaler().fit(tmp_path)
    assert torch.get_num_threads() == before
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before]

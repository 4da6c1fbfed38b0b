"""BLAS is kept on one thread while anyone asks for it, and set back when the last one leaves."""

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from equipoise.linear_model.blocks import one_blas_thread


def counts():
    return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}


@pytest.mark.parametrize("first_out", ["first in", "last in"])
def test_blocks_that_overlap_as_in_two_threads(first_out):
    with threadpool_limits(2, user_api="blas"):
        before = counts()
        blocks = [one_blas_thread(), one_blas_thread()]
        for block in blocks:
            block.__enter__()
        out = blocks if first_out == "first in" else blocks[::-1]
        out[0].__exit__(None, None, None)
        assert counts() == {1}
        out[1].__exit__(None, None, None)
        assert counts() == before


def test_an_error_sets_it_back():
    before = counts()
    with pytest.raises(ValueError, match="inside"), one_blas_thread():
        raise ValueError("inside")
    assert counts() == before

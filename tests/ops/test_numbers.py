"""Half types in kernels against torch: every pattern read, and what is hard to round."""

import numba
import numpy as np
import pytest
import torch

from equipoise.ops.numbers import as_array, narrow, widen

HALF = [torch.bfloat16, torch.float16]
PATTERNS = np.arange(2**16, dtype=np.uint16)


@numba.njit
def _widen_all(x, out):
    for i in range(x.size):
        out[i] = widen(x[i])


@numba.njit
def _narrow_all(x, out):
    for i in range(x.size):
        out[i] = narrow(out, x[i])


def every(dtype):
    """Give all 65536 numbers of a half type."""
    return torch.from_numpy(PATTERNS.copy()).view(dtype)


def assert_same(found, expected):
    """Assert equal bits, zeros' signs too; a NaN is any NaN."""
    bits = {torch.float32: torch.int32}.get(expected.dtype, torch.int16)
    assert torch.equal(found.isnan(), expected.isnan())
    numbers = ~expected.isnan()
    assert torch.equal(found[numbers].view(bits), expected[numbers].view(bits))


@pytest.mark.parametrize("dtype", HALF)
def test_every_pattern_is_read_as_torch_reads_it(dtype):
    x = every(dtype)
    out = np.empty(x.numel(), np.float32)
    _widen_all(as_array(x), out)
    assert_same(torch.from_numpy(out), x.float())


def hard():
    """Give floats at random, halfway between halves, beyond their range, and no numbers."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (100_000,), generator=generator)
    yield bits.to(torch.int32).view(torch.float32)
    for dtype in HALF:
        x = every(dtype).float()
        x = x[x.isfinite()]
        following = torch.nextafter(every(dtype), torch.tensor(torch.inf, dtype=dtype)).float()
        ties = (x + following[following.isfinite() | (following == torch.inf)][: x.numel()]) / 2
        for t in (x, ties):
            yield t
            yield torch.nextafter(t, torch.tensor(torch.inf))
            yield torch.nextafter(t, torch.tensor(-torch.inf))
    # the largest float, infinities, the NaNs whose payload a truncation would lose, subnormals
    special = torch.tensor(
        [0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 1, 0, 0x477FF000, 0x33000000]
    )
    special = torch.cat([special, special + 2**31]).to(torch.uint32)
    yield special.view(torch.float32)


@pytest.mark.parametrize("dtype", HALF)
def test_rounding_is_torchs(dtype):
    x = torch.cat(list(hard()))
    out = torch.empty(x.numel(), dtype=dtype)
    _narrow_all(x.numpy(), as_array(out))
    assert_same(out, x.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_pass_unchanged(dtype):
    x = torch.tensor([0.0, -0.0, 1e-310, torch.inf, torch.nan, 0.1]).to(dtype)
    out = torch.empty_like(x)
    _widen_all(as_array(x), as_array(out))
    assert out.numpy().tobytes() == x.numpy().tobytes()
    _narrow_all(as_array(x), as_array(out))
    assert out.numpy().tobytes() == x.numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF])
def test_an_array_is_the_tensors_memory(dtype):
    x = torch.randn(2, 3, 4, 5).to(dtype)
    for t in (x, x.contiguous(memory_format=torch.channels_last), x.permute(3, 1, 0, 2)):
        a = as_array(t)
        assert a.ctypes.data == t.data_ptr()
        assert a.shape == (t.numel(),)
        assert a.itemsize == t.element_size()
    assert as_array(torch.empty(0, 3, dtype=dtype)).size == 0

"""A program: call layers, sum moments, scale; print which of the compiler's modules came along.

Run as its own process, for what is imported stays.
"""

import sys

import numpy as np
import torch

import equipoise as eq


def main():
    torch.manual_seed(0)
    x = torch.randn(4, 8, 32, 32, requires_grad=True)
    layers = (
        eq.nn.BatchNorm2d(8),
        eq.nn.BatchNorm2d(8).to(memory_format=torch.channels_last),
        eq.nn.GroupNorm(2, 8),
        eq.nn.LayerNorm(32),
        eq.nn.LayerNorm2d(8),
    )
    for k, layer in enumerate(layers):
        given = x.contiguous(memory_format=torch.channels_last) if k == 1 else x
        y = layer(given)
        y.backward(torch.randn_like(y))
    assert x.grad.isfinite().all()
    moments = [eq.Moments.of(x.detach().double().flatten(2).numpy()) for _ in range(2)]
    assert (moments[0] + moments[1]).count.min() == 8
    print(*sorted({"numba", "scipy"} & set(sys.modules)))
    rows = np.random.default_rng(0).standard_normal((3000, 8))
    for dtype in (np.float32, np.float64):
        for scaler in (eq.preprocessing.StandardScaler(), eq.preprocessing.Normalizer()):
            assert np.isfinite(scaler.fit_transform(rows.astype(dtype))).all()
    # scikit-learn brings SciPy
    print(*sorted({"numba"} & set(sys.modules)))


if __name__ == "__main__":
    main()

"""A program: use the layer, fork, use it in the child; print what each computed.

Run as its own process, for a fork inside pytest would copy pytest.  Arguments: "fork" or "loader".
"""

import hashlib
import os
import sys

import torch
from _cases import make, normal
from torch.utils.data import DataLoader, Dataset


def digest(*tensors):
    """Hash the bits; NumPy, for torch's own parallel operations hang after a fork."""
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


def large():
    return normal((16, 8, 64, 64))


def compute(x, backward):
    """Run a fresh layer; give the hash of output, running statistics and input gradient."""
    layer = make(2, 8, activation="relu")
    x = x.clone().requires_grad_() if backward else x
    y = layer(x) if backward else layer.requires_grad_(False)(x)
    if not backward:
        return digest(y, layer.running_mean, layer.running_var)
    (gradient,) = torch.autograd.grad(y, x, normal(y.shape, seed=3))
    return digest(y, layer.running_mean, layer.running_var, gradient)


class Normalized(Dataset):
    """A data set whose samples are normalized by the layer in the worker."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return compute(large(), backward=True)


def fork():
    """Compute in the parent, then in a bare forked child."""
    x = large()
    print(compute(x, backward=False), flush=True)
    layer = make(2, 8, activation="relu").requires_grad_(False)
    if os.fork() == 0:
        y = layer(x)
        print(digest(y, layer.running_mean, layer.running_var), flush=True)
        os._exit(0)
    os.wait()
    print(compute(x, backward=False), flush=True)


def loader():
    """Compute in the parent, then in a DataLoader's worker, then in the parent again."""
    print(compute(large(), backward=True))
    for (value,) in DataLoader(Normalized(), num_workers=1, multiprocessing_context="fork"):
        print(value)
    print(compute(large(), backward=True))


if __name__ == "__main__":
    torch.set_num_threads(2)
    {"fork": fork, "loader": loader}[sys.argv[1]]()

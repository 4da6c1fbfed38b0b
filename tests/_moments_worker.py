"""A program: use Moments on many threads, then in a DataLoader's forked worker; print both bits.

Run as its own process, for a fork inside pytest would copy pytest.
"""

import hashlib

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import equipoise as eq


def digest(seed):
    """Hash the Moments and CoMoments of arrays large enough for several threads."""
    x = np.random.default_rng(seed).standard_normal((60_000, 5)).astype(np.float32)
    states = [
        eq.Moments.of(x).state,
        eq.Moments.of(torch.from_numpy(x).to(torch.bfloat16)).state.numpy(),
        eq.CoMoments.of(x).m2,
    ]
    return hashlib.sha256(b"".join(s.tobytes() for s in states)).hexdigest()


class Digests(Dataset):
    """Samples that are hashes made in the worker."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return digest(i)


if __name__ == "__main__":
    torch.set_num_threads(2)
    print("".join(digest(i) for i in range(2)))
    loader = DataLoader(Digests(), batch_size=None, num_workers=1, multiprocessing_context="fork")
    print("".join(loader))

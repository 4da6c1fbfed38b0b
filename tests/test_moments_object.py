"""Moments as an object: immutable, comparable, portable; and what it refuses."""

import math
import pickle

import numpy as np
import pytest
import torch

import equipoise as eq


def random(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


M = np.ones(2)


# --- the object


def test_nothing_can_be_changed():
    for x in (np.ones((2, 2)), torch.ones(2, 2)):
        m = eq.Moments.of(x)
        before = m.state
        for name in ("count", "mean", "m2", "min", "max", "nan_count", "state"):
            with pytest.raises(AttributeError):
                setattr(m, name, 0)
            getattr(m, name)[:] = 7
        assert np.array_equal(m.state, before)


def test_equality_hash_and_pickle():
    for x in (random((4, 2)), torch.randn(4, 2), torch.full((2, 2), math.nan)):
        m = eq.Moments.of(x)
        again = pickle.loads(pickle.dumps(m))
        assert again == m
        assert again.device == m.device
        assert eq.Moments.from_state(m.state) == m
        assert m != eq.Moments.of(x[:1])
        assert m != 3
        with pytest.raises(TypeError, match="unhashable"):
            hash(m)


def test_containers_meet_as_tensors():
    x = random((6, 2))
    array, tensor = eq.Moments.of(x[:3]), eq.Moments.of(torch.from_numpy(x[3:]))
    assert isinstance((array + tensor).mean, torch.Tensor)
    assert isinstance((tensor + array).mean, torch.Tensor)
    assert (tensor.to(None) + array) == (tensor + array).to(None)
    assert eq.Moments.empty(2, device="cpu") + tensor == tensor


def test_repr_says_what_it_holds():
    assert (
        repr(eq.Moments.of(np.arange(4.0))) == "Moments(shape=(), count=4, mean=[1.5], std=[1.118])"
    )
    x = np.zeros((3, 50))
    x[0, 0] = np.nan
    assert repr(eq.Moments.of(x)) == "Moments(shape=(50,), count=2..3, nan_count=1)"
    assert repr(eq.Moments.empty((2, 0))) == "Moments(shape=(2, 0))"


# --- errors


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: eq.Moments(), TypeError, "Moments.of"),
        (lambda: eq.Moments.of([1j]), TypeError, "complex128.*(1,).*imaginary"),
        (lambda: eq.Moments.of(np.array([None])), TypeError, "object.*astype"),
        (lambda: eq.Moments.of(["a"]), TypeError, "real numbers.*<U1"),
        (lambda: eq.Moments.of(np.array(["2020"], "M8")), TypeError, "datetime64"),
        (lambda: eq.Moments.of([[1], [1, 2]]), ValueError, "one array"),
        (lambda: eq.Moments.of(np.ma.ones(3)), TypeError, "filled"),
        (lambda: eq.Moments.of(torch.ones(2, dtype=torch.complex64)), TypeError, "complex64"),
        (lambda: eq.Moments.of(torch.eye(2).to_sparse()), TypeError, "sparse.*to_dense"),
        (lambda: eq.Moments.of(torch.ones(2, device="meta")), TypeError, "meta"),
        (lambda: eq.Moments.of(5.0), ValueError, r"axis.*\[value\]"),
        (lambda: eq.Moments.of(np.ones((2, 3)), axis=2), ValueError, r"-2 to 1; got 2.*\(2, 3\)"),
        (lambda: eq.Moments.of(np.ones((2, 3)), axis=(0, -2)), ValueError, "once"),
        (lambda: eq.Moments.of(np.ones((2, 3)), axis=0.0), TypeError, "axis must be an int"),
        (lambda: eq.Moments.of(np.ones((2, 3)), axis=True), TypeError, "axis must be an int"),
        (lambda: eq.Moments.of([1.0], nan="drop"), ValueError, "omit.*propagate.*drop"),
        (lambda: eq.Moments.of([1.0], weights=[-1]), ValueError, "not negative.*from -1"),
        (lambda: eq.Moments.of([1.0], weights=[np.nan]), ValueError, "finite"),
        (lambda: eq.Moments.of([1.0], weights=[np.inf]), ValueError, "finite"),
        (lambda: eq.Moments.of([1.0], weights=["a"]), TypeError, "weights must be real"),
        (lambda: eq.Moments.of(np.ones((4, 3)), weights=np.ones(3)), ValueError, r"\(4,\).*\(3,\)"),
        (lambda: eq.Moments.of(np.ones((4, 3)), weights=np.ones((4, 3))), ValueError, r"\(4,\)"),
        (lambda: eq.Moments.of(M, weights=torch.ones(2, device="meta")), ValueError, "on meta"),
        (lambda: eq.Moments.empty(2).merge(eq.Moments.empty(3)), ValueError, r"\(2,\) and \(3,\)"),
        (lambda: eq.Moments.empty(2).merge(3), TypeError, "got int"),
        (lambda: eq.Moments.empty(2) + 1, TypeError, "unsupported"),
        (lambda: 1 + eq.Moments.empty(2), TypeError, "unsupported"),
        (lambda: eq.Moments.from_state(np.ones((3, 2))), ValueError, r"\(7, \.\.\.\).*\(3, 2\)"),
    ],
)
def test_errors_name_the_rule_what_came_and_the_way_out(call, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        call()

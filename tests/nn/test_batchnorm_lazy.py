"""The lazy variants: they learn the number of channels from the first input."""

import pickle

import pytest
import torch
from _cases import CLASSES, SHAPES, make, normal, oracle
from _subject import nn
from tolerances import FLOAT32, assert_near

pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
dims = pytest.mark.parametrize("dims", [1, 2, 3])


def lazy(dims, **options):
    return getattr(nn, f"Lazy{CLASSES[dims]}")(**options)


@dims
def test_becomes_our_class_at_the_first_input(dims):
    layer = lazy(dims, activation="relu")
    assert isinstance(layer, getattr(torch.nn, f"Lazy{CLASSES[dims]}"))
    layer(normal(SHAPES[dims]))
    assert type(layer) is getattr(nn, CLASSES[dims])
    assert layer.num_features == SHAPES[dims][1]
    assert layer.activation == "relu"


@dims
def test_first_output_equals_that_of_the_ready_layer(dims, backend):
    x = normal(SHAPES[dims])
    ready = make(dims)
    ready.reset_parameters()
    truth = oracle(ready)
    layer = lazy(dims)
    assert_near(layer(x), truth(x.double()), FLOAT32)
    assert layer.num_batches_tracked == 1
    assert_near(layer.running_mean, truth.norm.running_mean, FLOAT32)


def test_add_and_activation_at_the_first_input(backend):
    x, add = normal(SHAPES[2]), normal(SHAPES[2], seed=4)
    layer = lazy(2, activation="silu")
    y = layer(x, add=add)
    layer.reset_running_stats()
    assert_near(y, oracle(layer)(x.double(), add.double()), FLOAT32)


def test_positions_of_the_constructor():
    layer = lazy(2, eps=1e-3, momentum=0.3, affine=False, track_running_stats=False)
    other = nn.LazyBatchNorm2d(1e-3, 0.3, False, False)
    for name in ("eps", "momentum", "affine", "track_running_stats"):
        assert getattr(layer, name) == getattr(other, name), name
    assert layer(normal(SHAPES[2])).shape == SHAPES[2]


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}], ids=str)
def test_repr_equals_that_of_torch(options):
    assert repr(lazy(2, **options)) == repr(torch.nn.LazyBatchNorm2d(**options))


def test_state_dict_of_a_ready_layer_loads_into_a_lazy_one():
    source = make(2)
    layer = lazy(2)
    layer.load_state_dict(source.state_dict())
    assert torch.equal(layer.weight, source.weight)
    x = normal(SHAPES[2])
    assert_near(layer(x), oracle(source)(x.double()), FLOAT32)
    assert type(layer) is nn.BatchNorm2d


def test_uninitialized_state_dict_loads():
    other = lazy(2)
    other.load_state_dict(lazy(2).state_dict())
    assert other.has_uninitialized_params()


def test_dry_run_in_evaluation_materialises():
    layer = lazy(2).eval()
    layer(normal(SHAPES[2]))
    assert layer.num_batches_tracked == 0
    assert torch.equal(layer.running_var, torch.ones(5))


def test_dtype():
    layer = lazy(2, dtype=torch.float64)
    layer(normal(SHAPES[2], torch.float64))
    assert layer.weight.dtype == layer.running_mean.dtype == torch.float64


def test_pickle_of_an_uninitialized_layer():
    # deepcopy fails here, with torch's own lazy layers too
    layer = pickle.loads(pickle.dumps(lazy(3, activation="gelu")))
    assert layer(normal(SHAPES[3])).shape == SHAPES[3]
    assert layer.activation == "gelu"

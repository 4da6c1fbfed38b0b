"""Saved scalers: the same bits after a round trip, clear refusals of every damaged file."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from equipoise import preprocessing
from equipoise._atomic import replacing
from equipoise.errors import UsageError
from equipoise.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler, load, saved

RNG = np.random.default_rng(0)
X = np.array([1e5, -3.0, 0.01, 7.0]) + RNG.normal(size=(300, 4))
X[::7, 2] = np.nan
NAMES = ["a", "b", "ü, \"'", "d"]


def frame():
    pandas = pytest.importorskip("pandas", reason="names come with frames")
    return pandas.DataFrame(X, columns=NAMES)


def robust(**options):
    pytest.importorskip("datasketches", reason="RobustScaler streams through sketches")
    return preprocessing.RobustScaler(**options)


SCALERS = {
    "standard": StandardScaler,
    "no mean": lambda: StandardScaler(with_mean=False),
    "no std": lambda: StandardScaler(with_std=False),
    "shared": lambda: StandardScaler(shared=True),
    "columns": lambda: StandardScaler(columns=["d", "a"]),
    "minmax": lambda: MinMaxScaler((-1, 1), clip=True),
    "minmax columns": lambda: MinMaxScaler(clip=True, columns=["b"]),
    "maxabs": MaxAbsScaler,
    "robust": robust,
    "robust columns": lambda: robust(columns=["d", "a"], quantile_range=(10.0, 90.0)),
}
scalers = pytest.mark.parametrize("make", SCALERS.values(), ids=SCALERS)


@scalers
def test_a_round_trip_keeps_every_bit(make, tmp_path):
    scaler = make().fit(frame())
    scaler.save(tmp_path / "s.safetensors")
    again = load(tmp_path / "s.safetensors")
    assert type(again) is type(scaler)
    assert again.get_params() == scaler.get_params()
    fitted = {k for k in vars(scaler) if k.endswith("_") or k == "_chosen"}
    assert {k for k in vars(again) if k.endswith("_") or k == "_chosen"} == fitted
    for name in fitted:
        a, b = getattr(scaler, name), getattr(again, name)
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert np.asarray(a).dtype == np.asarray(b).dtype, name
        assert np.ndim(a) == np.ndim(b), name
    np.testing.assert_array_equal(again.transform(frame()), scaler.transform(frame()))
    again.save(tmp_path / "t.safetensors")
    assert (tmp_path / "s.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()


@scalers
def test_pickle_works_too(make):
    scaler = make().fit(frame())
    again = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(again.transform(frame()), scaler.transform(frame()))


@scalers
def test_what_was_loaded_learns_on(make, tmp_path):
    # an exact fit of quantiles keeps no summary
    scaler = make().partial_fit(frame())
    scaler.save(tmp_path / "s")
    more = frame() * 2
    a, b = load(tmp_path / "s").partial_fit(more), scaler.partial_fit(more)
    # sketches flip coins when they merge
    bound = 0.1 if hasattr(a, "center_") else 0
    np.testing.assert_allclose(a.transform(frame()), b.transform(frame()), bound, bound)


def test_a_new_process_reads_it(tmp_path):
    scaler = StandardScaler().fit(X)
    scaler.save(tmp_path / "s")
    code = (
        "import sys, equipoise as eq; s = eq.preprocessing.load(sys.argv[1]);"
        "print(s.mean_.tobytes().hex())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True
    )
    assert out.stdout.strip() == scaler.mean_.tobytes().hex(), out.stderr


def test_the_file_is_readable_without_equipoise(tmp_path):
    import json

    StandardScaler().fit(frame()).save(tmp_path / "s")
    with safe_open(tmp_path / "s", framework="np") as file:
        words = json.loads(file.metadata()["equipoise.scaler"])
        np.testing.assert_allclose(file.get_tensor("fitted.mean_"), np.nanmean(X, 0))
    assert words["class"] == "StandardScaler"
    assert words["columns"] == NAMES
    assert words["dtype"] == "float64"
    assert words["format_version"] == 1


def test_what_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        StandardScaler().save(tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.fixture
def whole(tmp_path):
    StandardScaler().fit(frame()).save(tmp_path / "s")
    return tmp_path / "s"


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -100, -1])
def test_a_truncated_file(kept, whole):
    whole.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"must be a scaler that equipoise saved; it is cut off"):
        load(whole)


def test_every_flipped_byte_is_harmless(whole):
    data = whole.read_bytes()
    for at in range(0, len(data), 13):
        damaged = bytearray(data)
        damaged[at] ^= 0x55
        whole.write_bytes(bytes(damaged))
        try:
            load(whole)
        except UsageError:
            pass


def words(**changes):
    import json

    given = {
        "format_version": 1, "equipoise": "9", "class": "StandardScaler", "dtype": "float64",
        "columns": None, "params": {}, "fitted": {},
    }  # fmt: skip
    return {"equipoise.scaler": json.dumps(given | changes)}


@pytest.mark.parametrize(
    "metadata, tensors, message",
    [
        (None, {}, "a safetensors file of others"),
        ({"format": "pt"}, {}, "a safetensors file of others"),
        ({"equipoise.checkpoint": "{}"}, {}, "it is an equipoise.checkpoint"),
        ({"equipoise.scaler": "{"}, {}, "no version of its format"),
        ({"equipoise.scaler": "[]"}, {}, "no version of its format"),
        (words(format_version=2), {}, r"version 2, from equipoise 9.*upgrade"),
        ({"equipoise.scaler": '{"format_version": 1}'}, {}, "no usable scaler"),
        ({"class": "x"} | words(**{"class": "os.system"}), {}, "must be a class of"),
        (words(**{"class": "load"}), {}, "must be a class of"),
        (words(**{"class": "saved"}), {}, "must be a class of"),
        (words(params={"nope": 1}), {}, "no usable scaler"),
        (words(fitted={"__class__": 1}), {}, "fitted attributes only"),
        (words(fitted={"fit": 1}), {}, "fitted attributes only"),
        (words(fitted={"transform": None}), {}, "fitted attributes only"),
        (words(), {"fitted.partial_fit": np.ones(1)}, "fitted attributes only"),
        (words(), {"summary.moments": np.ones(3)}, "no usable scaler"),
    ],
)
def test_files_of_foreign_hands(metadata, tensors, message, tmp_path):
    save_file({"x": np.ones(2)} | tensors, tmp_path / "s", metadata)
    with pytest.raises(UsageError, match=message):
        load(tmp_path / "s")


@pytest.mark.parametrize("content", [b"words", pickle.dumps(X), b"PK\x03\x04" + bytes(100)])
def test_no_safetensors(content, tmp_path):
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(UsageError, match="must be a scaler that equipoise saved"):
        load(tmp_path / "s")


@pytest.mark.parametrize("path", ["gone", "."])
def test_nothing_to_load(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot read"):
        load(path)


def test_a_failed_save_keeps_the_older_file(whole, monkeypatch):
    before = whole.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"cannot write .*: No space left on device"):
        StandardScaler().fit(X).save(whole)
    assert whole.read_bytes() == before
    assert os.listdir(whole.parent) == ["s"]


@pytest.mark.parametrize("named", [False, True])
def test_nothing_is_left_of_what_breaks_off(named, tmp_path, monkeypatch):
    if named:
        # as on systems that know no files without a name
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    place = tmp_path / "a"

    def break_off():
        with replacing(place) as draft:
            Path(draft).write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert os.listdir(tmp_path) == []
    with replacing(place) as draft:
        Path(draft).write_text("whole")
    assert place.read_text() == "whole"
    place.chmod(0o640)
    with replacing(place) as draft:
        Path(draft).write_text("again")
    assert place.read_text() == "again"
    assert place.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "path, message", [("no/a", "No such file"), (".", "it is a folder"), ("a/b", "Not a directory")]
)
def test_places_where_nothing_can_be_written(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("a file")
    with pytest.raises(UsageError, match=message):
        StandardScaler().fit(X).save(path)


def test_a_device_is_not_replaced(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe: it is a pipe or a device"):
        StandardScaler().fit(X).save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@scalers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_module_scales_as_the_scaler_does(make, dtype):
    scaler = make().fit(frame())
    layer = scaler.to_module()
    x = torch.from_numpy(X).to(dtype)
    expected = np.asarray(scaler.transform(frame().astype(str(dtype).removeprefix("torch."))))
    found = layer(x).numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_array_max_ulp(np.nan_to_num(found), np.nan_to_num(expected), maxulp=1)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    fresh = make().fit(frame() * 3 + 1).to_module()
    fresh.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(fresh(x), layer(x))


def test_modules_of_images_and_of_what_is_not_fitted():
    scaler = StandardScaler().fit(X[:, :3])
    images = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    rows = images.permute(0, 2, 3, 1).reshape(-1, 3)
    expected = torch.from_numpy(scaler.transform(rows.numpy())).reshape(2, 4, 5, 3)
    assert torch.equal(scaler.to_module()(images), expected.permute(0, 3, 1, 2))
    assert torch.equal(scaler.to_module(channel_axis=-1)(images.permute(0, 2, 3, 1)), expected)
    with pytest.raises(ValueError, match="not fitted"):
        StandardScaler().to_module()
    with pytest.raises(UsageError, match="for matrices only"):
        StandardScaler(columns=[1]).fit(X).to_module(channel_axis=2)


def test_clipped_maxabs_becomes_a_layer():
    scaler = MaxAbsScaler(clip=True).fit(np.array([[2.0], [-4.0]]))
    assert scaler.to_module()(torch.tensor([[8.0], [-1.0]])).tolist() == [[1.0], [-0.25]]


def test_the_saver_knows_every_scaler():
    for name in preprocessing.__all__:
        if name.endswith("Scaler"):
            assert saved._class(name) is getattr(preprocessing, name)

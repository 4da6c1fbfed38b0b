"""`equipoise scale`: fit, apply, show; broken off and gone on with; refusals with exit code 2."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from equipoise import cli
from equipoise.preprocessing import MinMaxScaler, RobustScaler, StandardScaler, load

pa = pytest.importorskip("pyarrow", reason="the command line reads files by pyarrow")
import pyarrow.csv  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

NAMES = ["x", "k", "few"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in a folder with two Parquet files and a CSV of the same rows."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    few = [None if i % 3 else i / 7 for i in range(900)]
    table = pa.table(
        {
            "id": [f"{i:05}" for i in range(900)],
            "x": pa.array(rng.normal(3, 2, 900).astype("f4")),
            "k": rng.integers(-5, 5, 900),
            "few": pa.array(few),
            "word": ["plain", "with, comma", 'a "quote"'] * 300,
        }
    )
    Path("rows").mkdir()
    pq.write_table(table.slice(0, 500), "rows/a.parquet", row_group_size=200)
    pq.write_table(table.slice(500), "rows/b.parquet")
    pyarrow.csv.write_csv(table, "rows.csv")
    return table


def run(*words):
    return cli.main(["scale", *words])


def fitted(*words, out="s.safetensors", columns="x,k,few", data="rows"):
    assert run("fit", data, "--columns", columns, "-o", out, *words) == 0
    return load(out)


def numbers(table):
    return np.stack([table[n].to_numpy().astype(float) for n in NAMES], axis=1)


def test_fit_learns_what_the_rows_hold(place, capsys):
    scaler = fitted()
    out, err = capsys.readouterr()
    assert out == "s.safetensors\n"
    assert "900 rows" in err
    assert "/s, in" in err
    X = numbers(place)
    np.testing.assert_allclose(scaler.mean_, np.nanmean(X, 0), rtol=1e-14)
    np.testing.assert_allclose(scaler.scale_, np.nanstd(X, 0), rtol=1e-14)
    assert list(scaler.feature_names_in_) == place.column_names


def test_links_stay_and_what_they_point_to_is_written(place):
    Path("far").mkdir()
    for name in ("s.safetensors", "out.csv"):
        os.symlink(f"far/{name}", name)
    fitted()
    assert run("apply", "s.safetensors", "rows", "-o", "out.csv") == 0
    assert load("far/s.safetensors").n_features_in_ == 5
    assert pyarrow.csv.read_csv("far/out.csv").num_rows == 900
    assert os.readlink("s.safetensors") == "far/s.safetensors"
    assert os.readlink("out.csv") == "far/out.csv"


def test_links_in_a_circle(place, capsys):
    os.symlink("s.safetensors", "t.safetensors")
    os.symlink("t.safetensors", "s.safetensors")
    assert run("fit", "rows", "--columns", "x", "-o", "s.safetensors") == 2
    assert "links lead in a circle" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
@pytest.mark.parametrize("data", ["rows", "rows.csv", "rows/*.parquet"])
def test_every_method_equals_the_scaler_in_memory(method, data, place):
    if method == "robust":
        pytest.importorskip("datasketches", reason="RobustScaler streams through sketches")
    scaler = fitted("--method", method, data=data)
    plain = type(scaler)().fit(numbers(place))
    # a CSV holds the shortest decimals of float32; sketches are off by half a percent in rank
    bound = 0.03 if method == "robust" else 2e-7 if "csv" in data else 1e-13
    np.testing.assert_allclose(scaler._affine().scale, plain._affine().scale, rtol=bound)


@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
@pytest.mark.parametrize("data", [["rows"], ["rows/a.parquet", "rows/b.parquet"], ["rows.csv"]])
def test_apply_scales_and_keeps_the_rest_in_order(data, out, place, capsys):
    scaler = fitted()
    assert run("apply", "s.safetensors", *data, "-o", out) == 0
    read = pq.read_table if out.endswith("parquet") else pyarrow.csv.read_csv
    found = read(out)
    assert found.column_names == place.column_names
    assert found["word"].to_pylist() == place["word"].to_pylist()
    assert [int(i) for i in found["id"].to_pylist()] == list(range(900))
    expected = (numbers(place) - scaler.mean_) / scaler.scale_
    np.testing.assert_allclose(numbers(found), expected, rtol=1e-5, atol=1e-6)
    assert found["few"].null_count == 600
    assert sorted(os.listdir(".")) == sorted(["rows", "rows.csv", "s.safetensors", out])


def test_parquet_keeps_float32_and_writes_large_row_groups(place):
    fitted()
    assert run("apply", "s.safetensors", "rows", "-o", "out.parquet") == 0
    assert pq.read_schema("out.parquet").field("x").type == pa.float32()
    assert pq.read_metadata("out.parquet").num_row_groups == 1


def test_text_passes_from_csv_to_csv_as_it_is(place):
    Path("t.csv").write_text('id,x,note\n007,1.50,"a, b"\n008,2.5,\n009,4,x\n')
    fitted(data="t.csv", columns="x")
    assert run("apply", "s.safetensors", "t.csv", "-o", "u.csv") == 0
    lines = Path("u.csv").read_text().splitlines()
    assert [line.split(",")[0].strip('"') for line in lines] == ["id", "007", "008", "009"]


def test_apply_finds_columns_by_name_where_they_were_chosen(place):
    fitted()
    pq.write_table(place.select(["few", "k", "x"]), "other.parquet")
    assert run("apply", "s.safetensors", "other.parquet", "-o", "o.parquet") == 0


def test_an_older_output_is_replaced(place):
    fitted()
    Path("out.csv").write_text("old")
    assert run("apply", "s.safetensors", "rows", "-o", "out.csv") == 0
    assert Path("out.csv").read_text().startswith("id,x")


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs"])
def test_show(method, place, capsys):
    fitted("--method", method)
    capsys.readouterr()
    assert run("show", "s.safetensors") == 0
    out = capsys.readouterr().out
    assert "fitted on 900 rows" in out
    for name in NAMES:
        assert name in out
    assert "min" in out
    # the mean, which the others never knew
    assert ("●" in out) == (method == "standard")


@pytest.mark.parametrize("cls", [StandardScaler, MinMaxScaler, RobustScaler])
@pytest.mark.parametrize("row", [[1.0, 2.0], [float("nan")] * 2])
def test_show_of_what_had_no_names_or_no_numbers(cls, row, place, capsys):
    pytest.importorskip("datasketches", reason="RobustScaler learns in parts through sketches")
    cls().partial_fit(np.array([row, row])).save("s.safetensors")
    assert run("show", "s.safetensors") == 0
    out = capsys.readouterr().out
    assert "fitted on 2 rows" in out
    assert [line.split()[0] for line in out.splitlines()[4:6]] == ["0", "1"]


def test_show_fits_into_eighty_columns(place, monkeypatch, capsys):
    # numbers as wide as they come, and a long name
    pytest.importorskip("datasketches", reason="RobustScaler learns in parts through sketches")
    wide = np.array([-1.2345e-100, 9.8765e100, np.nan])
    RobustScaler().fit({"a_name_of_twenty_four_ch": wide, "b": wide}).save("s.safetensors")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run("show", "s.safetensors") == 0
    _, *table = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    assert "9.876e+100" in table[3]


def test_show_draws_histograms_of_sketches(place, capsys):
    pytest.importorskip("datasketches", reason="RobustScaler streams through sketches")
    fitted("--method", "robust")
    assert run("show", "s.safetensors") == 0
    assert "█" in capsys.readouterr().out


def bad_inf():
    pq.write_table(pa.table({"x": [1.0, 2.0, float("inf")]}), "inf.parquet")


def bad_nan():
    pq.write_table(pa.table({"x": [1.0, 2.0], "none": [float("nan")] * 2}), "nan.parquet")


def bad_corrupt():
    Path("rows/c.parquet").write_bytes(Path("rows/a.parquet").read_bytes()[:-7])


def bad_schema():
    pq.write_table(pa.table({"x": [1.0]}), "rows/c.parquet")


def bad_empty():
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), "none.parquet")


def bad_letters():
    Path("wide.csv").write_bytes("x,k\n1,2\n".encode("utf-16"))
    Path("latin.csv").write_bytes("x,k,few,n\n1,2,3,é\n".encode("latin-1"))


REFUSED = {
    "inf": (bad_inf, ["inf.parquet"], r"column 'x' holds inf in row 2 of inf\.parquet"),
    "all NaN": (bad_nan, ["nan.parquet"], "'none' holds only NaN or null"),
    "strings": (None, ["rows"], r"column 'id' .* must hold numbers.*columns=\['x', 'k', 'few'\]"),
    "missing": (None, ["rows", "--columns", "x,nope"], "must hold 'nope'"),
    "corrupt": (bad_corrupt, ["rows", "--columns", "x"], r"cannot read rows/c\.parquet"),
    "schema": (bad_schema, ["rows", "--columns", "x,few"], r"rows/c\.parquet must hold 'few'"),
    "no rows": (bad_empty, ["none.parquet"], "at least one row"),
    "no file": (None, ["gone.parquet"], "no file or folder gone"),
    "method": (None, ["rows", "--method", "best"], "--method must be one of standard, minmax"),
    "commas": (None, ["rows", "--columns", "x,,k"], "--columns must be names"),
    "twice": (None, ["rows", "--columns", "x,x"], "once"),
    "no folder": (None, ["rows", "-o", "no/s.safetensors"], "there is no folder no"),
    "a folder": (None, ["rows", "-o", "rows"], "it is a folder"),
    "itself": (None, ["rows/a.parquet", "--columns", "x", "-o", "rows/a.parquet"], "another file"),
    "own checkpoint": (
        None,
        ["rows", "--columns", "x", "-o", "s", "--checkpoint", "rows/../s"],
        "--checkpoint must be another file than the output",
    ),
    "nothing to keep": (None, ["rows", "--checkpoint-every", "5"], "needs --checkpoint FILE"),
    "time": (None, ["rows", "--checkpoint", "c", "--checkpoint-every=-1"], "0 or more; got -1"),
    "no time": (
        None,
        ["rows", "--checkpoint", "c", "--checkpoint-every=nan"],
        "0 or more; got nan",
    ),
    "UTF-16": (
        bad_letters,
        ["wide.csv"],
        r"wide\.csv as CSV: it must be UTF-8; it begins as UTF-16",
    ),
    "Latin-1": (
        bad_letters,
        ["latin.csv"],
        r"'n' of latin\.csv .*; it holds text that is not UTF-8",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_fit_refuses_in_one_line_and_writes_nothing(name, place, capsys):
    prepare, words, message = REFUSED[name]
    if prepare:
        prepare()
    before = sorted(Path().rglob("*"))
    out = [] if "-o" in words else ["-o", "s.safetensors"]
    assert run("fit", *words, *out) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("equipoise: ")
    import re

    assert re.search(message, told), told
    assert sorted(Path().rglob("*")) == before


def late_inf():
    pq.write_table(
        pa.table({"x": [1.0] * 9 + [float("-inf")], "k": [1] * 10, "few": [1.0] * 10}), "in.parquet"
    )


def missing():
    pq.write_table(pa.table({"x": [1.0], "k": [2]}), "in.parquet")


def no_rows():
    pq.write_table(pa.table({n: pa.array([], pa.float64()) for n in NAMES}), "in.parquet")


def other_types():
    one = {n: [1.0] for n in NAMES}
    pq.write_table(pa.table(one | {"pass": [1]}), "in/1.parquet")
    pq.write_table(pa.table(one | {"pass": ["word"]}), "in/2.parquet")


def cut_scaler():
    data = Path("s.safetensors").read_bytes()
    Path("s.safetensors").write_bytes(data[: len(data) // 2])


def foreign_scaler():
    from safetensors.numpy import save_file

    save_file({"x": np.ones(3)}, "s.safetensors")


WRONG = {
    "inf": (late_inf, "in.parquet", "out.csv", "column 'x' holds -inf in row 9 of in.parquet"),
    "missing": (missing, "in.parquet", "out.csv", "must hold 'few'"),
    "no rows": (no_rows, "in.parquet", "out.parquet", "must be a row"),
    "types": (other_types, "in", "out.parquet", "'pass' is int64 in one and string"),
    "ending": (None, "rows", "out.xlsx", "must end in one of .parquet"),
    "packed": (None, "rows", "out.csv.gz", "pack it afterwards"),
    "itself": (None, "rows", "rows/a.parquet", "another file"),
    "cut": (cut_scaler, "rows", "out.csv", "it is cut off, or another file"),
    "letters": (
        bad_letters,
        "latin.csv",
        "out.csv",
        "column 'n': CSV conversion error to string: it",
    ),
    "foreign": (foreign_scaler, "rows", "out.csv", "a safetensors file of others"),
}


@pytest.mark.parametrize("name", WRONG)
def test_apply_refuses_in_one_line_and_writes_nothing(name, place, capsys):
    prepare, source, out, message = WRONG[name]
    Path("in").mkdir()
    fitted()
    if prepare:
        prepare()
    before = {p: p.is_file() and p.read_bytes() for p in Path().rglob("*")}
    assert run("apply", "s.safetensors", source, "-o", out) == 2
    assert message in capsys.readouterr().err
    assert {p: p.is_file() and p.read_bytes() for p in Path().rglob("*")} == before


def test_reordered_columns_at_apply(place, capsys):
    pq.write_table(place.select(NAMES), "in.parquet")
    assert run("fit", "in.parquet", "-o", "s.safetensors") == 0
    for names, message in (
        (["k", "x", "few"], "in another order"),
        (["x", "few"], "must hold 'k'"),
        ([*NAMES, "id"], "adds 'id'"),
    ):
        pq.write_table(place.select(names), "in.parquet")
        assert run("apply", "s.safetensors", "in.parquet", "-o", "out.csv") == 2
        assert message in capsys.readouterr().err
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("words", [["show", "gone"], ["show", "."], ["apply", "gone", "rows"]])
def test_a_scaler_that_is_not_there(words, place, capsys):
    out = ["-o", "o.csv"] if words[0] == "apply" else []
    assert run(*words, *out) == 2
    assert "cannot read" in capsys.readouterr().err


# a process of its own, from here on


def start(*words, **options):
    code = "import sys; from equipoise.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "scale", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.fixture
def many(place):
    """Make files of many blocks, and give the scaler of an unbroken fit."""
    rng = np.random.default_rng(1)
    Path("many").mkdir()
    for i in range(4):
        table = pa.table({f"c{j}": rng.normal(j, 1, 100_000) for j in range(8)})
        pq.write_table(table, f"many/{i}.parquet", row_group_size=2_000)
    assert run("fit", "many", "-o", "whole.safetensors") == 0
    return Path("whole.safetensors").read_bytes()


def wait_for(test, process, seconds=60):
    end = time.monotonic() + seconds
    while not test():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_broken_fit_goes_on_and_ends_the_same_to_the_bit(number, many):
    words = ["fit", "many", "-o", "s.safetensors", "--checkpoint", "c", "--checkpoint-every", "0"]
    process = start(*words)
    wait_for(Path("c").exists, process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), err
    assert not Path("s.safetensors").exists()
    if number == signal.SIGINT:
        assert "the same command goes on from c" in err
    process = start(*words)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "going on after" in err
    assert Path("s.safetensors").read_bytes() == many
    assert not Path("c").exists()
    assert [p for p in os.listdir(".") if p.startswith(".")] == []


@pytest.mark.parametrize(
    "change, message",
    [
        (["--method", "minmax"], "with other method"),
        (["--columns", "c0"], "with other columns"),
        (["many/0.parquet"], "with other files"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(change, message, many, capsys, monkeypatch):
    from equipoise.preprocessing import command

    class Stopped:
        asked = True
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *e: None  # noqa: E731

    with monkeypatch.context() as m:
        m.setattr(command, "Stop", Stopped)
        assert run("fit", "many", "-o", "s.safetensors", "--checkpoint", "c") == 130
    kept = Path("c").read_bytes()
    data = ["many"] if change[0].startswith("-") else []
    assert run("fit", *data, *change, "-o", "s.safetensors", "--checkpoint", "c") == 2
    assert message in capsys.readouterr().err
    assert Path("c").read_bytes() == kept


@pytest.mark.parametrize("made", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused(made, place, capsys):
    fitted()
    Path("c").write_bytes(Path("s.safetensors").read_bytes() if made is None else made)
    words = ["fit", "rows", "--columns", "x", "-o", "t.safetensors", "--checkpoint", "c"]
    assert run(*words) == 2
    assert "must be a checkpoint that equipoise saved" in capsys.readouterr().err
    assert not Path("t.safetensors").exists()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_broken_apply_leaves_no_half_file(number, many):
    Path("out.csv").write_text("older")
    # so many that it is at it when the signal comes, however late that is
    for k in range(4, 150):
        os.link("many/0.parquet", f"many/{k}.parquet")
    process = start("apply", "whole.safetensors", "many", "-o", "out.csv")

    def writes():
        links = Path(f"/proc/{process.pid}/fd")
        try:
            return any("deleted" in os.readlink(p) and "many" not in p.name for p in links.iterdir()
                       if os.stat(p).st_size > 1 << 16)  # fmt: skip
        except OSError:
            return False

    if not Path("/proc/self/fd").is_dir() or not hasattr(os, "O_TMPFILE"):
        pytest.skip("files without a name are Linux's")
    wait_for(writes, process)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert sorted(os.listdir(".")) == ["many", "out.csv", "rows", "rows.csv", "whole.safetensors"]
    assert Path("out.csv").read_text() == "older"


@pytest.mark.parametrize("out", ["out.csv", pytest.param("out.parquet", marks=pytest.mark.slow)])
def test_a_full_disk_at_apply(out, many):
    import resource

    Path(out).write_text("older")

    def small_disk():
        # what is written above it fails, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    process = start(
        "apply", "whole.safetensors", "many", "-o", out,
        preexec_fn=small_disk, env={**os.environ, "EQUIPOISE_BACKEND": "reference"},
    )  # fmt: skip
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert f"cannot write {out}: " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert Path(out).read_text() == "older"
    assert [p for p in os.listdir(".") if p.startswith(".")] == []


def test_without_permission_to_write(place, tmp_path):
    fitted()
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    Path("locked").mkdir(mode=0o555)
    assert run("apply", "s.safetensors", "rows", "-o", "locked/out.csv") == 2

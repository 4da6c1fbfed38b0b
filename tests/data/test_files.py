"""Files that are missing, damaged, foreign or do not fit together: each is named."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from equipoise.data import chunks
from equipoise.data.block import Choice
from equipoise.data.files import find, format_of
from equipoise.data.tables import Table
from equipoise.errors import UsageError

pa = pytest.importorskip("pyarrow", reason="files are read by pyarrow")
import pyarrow.parquet as pq  # noqa: E402


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def read(source, *args, **options):
    return np.concatenate([X for X, *_ in chunks(source, *args, **options)])


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    for name, value in (("b.parquet", 2.0), ("a.parquet", 1.0), ("sub/c.pq", 3.0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, x=[value])
    for name in ("_SUCCESS", ".hidden.parquet", "_tmp/d.parquet", "README.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not rows")
    assert read(tmp_path)[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert read(str(tmp_path / "*.p*"))[:, 0].tolist() == [1.0, 2.0]
    assert read(str(tmp_path / "**" / "[a-c].p*"))[:, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "name, found",
    [("A.PARQUET", "parquet"), ("a.csv.gz", "csv"), ("a.tsv", "csv"), ("a.gz", ""), ("a", "")],
)
def test_formats_by_name(name, found):
    assert format_of(name) == found


@pytest.mark.parametrize(
    "name, message",
    [
        ("nothing.parquet", "there is no file or folder"),
        ("*.parquet", "no file matches"),
        (".", "must hold Parquet or CSV files"),
        ("s3://bucket/rows.parquet", "pyarrow.dataset.dataset"),
        ("words.txt", "must be Parquet or CSV"),
        ("empty.parquet", "cannot read .*empty.parquet as Parquet"),
        ("empty.csv", "cannot read .*empty.csv as CSV"),
    ],
)
def test_paths_that_lead_nowhere(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not name.startswith(("nothing", "*", ".", "s3")):
        (tmp_path / name).write_text("words\n" if name == "words.txt" else "")
    with pytest.raises(UsageError, match=message):
        read(name)


def test_a_folder_of_both_formats(tmp_path):
    write(tmp_path / "a.parquet", x=[1.0])
    (tmp_path / "b.csv").write_text("x\n1\n")
    with pytest.raises(UsageError, match="both Parquet and CSV"):
        read(tmp_path)


def test_a_file_named_twice(tmp_path):
    path = write(tmp_path / "a.parquet", x=[1.0])
    with pytest.raises(UsageError, match=r"once.*a\.parquet again"):
        read([path, path])
    with pytest.raises(UsageError, match=r"once.*a\.parquet again"):
        read([path, path.parent / "." / ".." / path.parent.name / path.name])
    with pytest.raises(UsageError, match=r"once.*a\.parquet again"):
        read([path, os.path.relpath(path)])


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match=r"pipe\.csv must be a file; it is a pipe"):
        read(tmp_path / "pipe.csv")


def test_a_parquet_file_under_another_name(tmp_path):
    write(tmp_path / "rows.data", x=[1.0, 2.0])
    assert read(tmp_path / "rows.data").tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("cut", [3, 40, -1])
def test_a_truncated_file_among_good_ones_is_named_before_a_row_is_read(cut, tmp_path):
    write(tmp_path / "a.parquet", x=np.arange(1000.0))
    whole = write(tmp_path / "b.parquet", x=np.arange(1000.0)).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:cut])
    found = chunks(tmp_path)
    with pytest.raises(UsageError, match=r"cannot read .*b\.parquet as Parquet"):
        next(found)


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"write_page_checksum": True}])
def test_damage_within_the_pages_is_named(options, tmp_path):
    x = np.random.default_rng(0).integers(0, 9, 50_000).astype(float)
    path = tmp_path / "b.parquet"
    pq.write_table(pa.table({"x": x}), path, use_dictionary=False, **options)
    damaged = bytearray(path.read_bytes())
    damaged[200:2_000] = os.urandom(1_800)
    path.write_bytes(bytes(damaged))
    with pytest.raises(UsageError, match=r"cannot read .*b\.parquet as Parquet"):
        read(tmp_path)


@pytest.mark.parametrize(
    "second, message",
    [
        ({"x": [1.0]}, "b.parquet lacks 'y'"),
        ({"x": [1.0], "y": [2.0], "z": [3.0]}, "b.parquet adds 'z'"),
        ({"y": [1.0], "x": [2.0]}, "another order"),
        ({"x": [1.0], "y": ["word"]}, r"column 'y' of .*b\.parquet must hold numbers"),
    ],
)
def test_files_whose_columns_differ(second, message, tmp_path):
    write(tmp_path / "a.parquet", x=[1.0], y=[2.0])
    write(tmp_path / "b.parquet", **second)
    with pytest.raises(UsageError, match=message):
        next(chunks(tmp_path))


def test_chosen_columns_may_stand_anywhere_and_have_any_type_of_number(tmp_path):
    write(tmp_path / "a.parquet", x=pa.array([1.0], pa.float32()), y=[2])
    write(tmp_path / "b.parquet", z=["word"], y=pa.array([True]), x=pa.array([None], pa.float64()))
    X = read(tmp_path, ["y", "x"])
    np.testing.assert_array_equal(X, [[2.0, 1.0], [1.0, np.nan]])
    assert X.dtype == np.float64
    # a position is a column of the first file, wherever that column stands in the others
    np.testing.assert_array_equal(read(tmp_path, [1, 0]), X)


def test_a_file_without_rows_is_no_end(tmp_path):
    write(tmp_path / "a.parquet", x=pa.array([], pa.float64()))
    write(tmp_path / "b.parquet", x=[1.0])
    assert read(tmp_path).tolist() == [[1.0]]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_reading_goes_on_from_any_position(size, format, parquet, csv):
    source = parquet if format == "parquet" else csv
    table = Table(source, Choice.of(["x", "y"]), size)
    found = list(table.blocks())
    assert found[-1][1].bytes == pytest.approx(table.size)
    for i in (0, len(found) // 2, len(found) - 1):
        rest = list(table.blocks(found[i][1]))
        assert [p for _, p in rest] == [p for _, p in found[i + 1 :]]
        for (a, _), (b, _) in zip(rest, found[i + 1 :], strict=True):
            np.testing.assert_array_equal(a.values, b.values)
            assert (a.origin, a.start) == (b.origin, b.start)


def test_only_the_wanted_columns_are_read(tmp_path):
    table = pa.table({"x": np.arange(10.0), "big": np.zeros(10)})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    at = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(1).data_page_offset
    damaged = bytearray((tmp_path / "a.parquet").read_bytes())
    damaged[at : at + 16] = b"\xff" * 16
    (tmp_path / "a.parquet").write_bytes(bytes(damaged))
    assert len(read(tmp_path, ["x"])) == 10
    with pytest.raises(UsageError):
        read(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
        ("1,2\n3,4\n", "must name the columns; it holds the numbers 1, 2"),
        ("a;b\n1;2\n", "column 'a;b'"),
    ],
)
def test_csv_that_is_no_table(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read(tmp_path / "a.csv")


def test_names_that_are_not_utf8(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,n\xfcm\n1,2\n")
    with pytest.raises(UsageError, match=r"cannot read .*a\.csv as CSV: .*names must be UTF-8"):
        read(tmp_path / "a.csv")


def test_a_word_far_down_a_csv_names_its_column(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.csv.BLOCK_BYTES", 1 << 10)
    lines = ["k,x"] + [f"{i},{i}.5" for i in range(1000)]
    lines[900] = "899,ouch"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"a\.csv as CSV:.*column 'x'.*ouch"):
        read(tmp_path / "a.csv")


def test_integers_of_a_csv_that_turn_to_fractions(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.csv.BLOCK_BYTES", 1 << 10)
    lines = ["k,none"] + [f"{i}," for i in range(1000)] + ["0.25,3.5"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    X = read(tmp_path / "a.csv")
    assert X[-1].tolist() == [0.25, 3.5]
    assert np.isnan(X[:-1, 1]).all()


@pytest.mark.parametrize("packed", ["gz", "bz2", "zst"])
def test_packed_csv(packed, csv, tmp_path):
    path = f"{csv}.{packed}"
    with pa.output_stream(path, compression="zstd" if packed == "zst" else "detect") as out:
        out.write(csv.read_bytes())
    np.testing.assert_array_equal(read(path, ["x", "y"]), read(csv, ["x", "y"]))


def test_tabs_and_a_byte_order_mark(tmp_path):
    (tmp_path / "a.tsv").write_bytes("\ufeffa\tb\n1\t2\n".encode())
    ((X, names),) = chunks(tmp_path / "a.tsv")
    assert X.tolist() == [[1.0, 2.0]]
    assert names == ("a", "b")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_another_encoding_is_told(packed, encoding, tmp_path):
    text = "a,b\n1,2\n".encode(encoding)
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(UsageError, match=r"a\.csv.* as CSV: it must be UTF-8"):
        read(path)


AS_ANYONE = """
import os
from equipoise.data.files import find
from equipoise.errors import UsageError
if os.getuid() == 0:
    os.setuid(65534)
try:
    find({path!r})
except UsageError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_without_permission(what):
    # the way to it must be open to the user that may not read it
    place = Path("/tmp") / f"equipoise-{os.getpid()}-{what}"
    place.mkdir(mode=0o755)
    try:
        path = write(place / "a.parquet", x=[1.0])
        locked = path if what == "file" else place
        locked.chmod(0)
        code = AS_ANYONE.format(path=str(locked))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        place.chmod(0o755)
    finally:
        shutil.rmtree(place)
    assert "cannot read" in done.stdout, done.stderr
    assert "Permission denied" in done.stdout


def test_size_counts_every_file(parquet):
    assert Table(parquet, Choice.of("x")).size == sum(f.size for f in find(parquet))

import csv
import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from jaxdl.data.csv_files import parse_number, read_numeric_csv, read_rows, write_rows
from jaxdl.data.names import read_names
from jaxdl.data.tables import Schema, read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("csv")


@pytest.fixture
def write(tmp_path):
    def write_bytes(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_bytes


def fields_of(path):
    return [row.fields for row in read_rows(path)]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("diabetes.csv.gz", 759),
        ("names_train.csv.gz", 13_374),
        ("names_test.csv.gz", 6_700),
        ("titanic_train.csv.gz", 892),
        ("titanic_test.csv.gz", 419),
    ],
)
def test_real_files_read_as_the_csv_module_reads_them(raw_dir, name, rows):
    fields = fields_of(raw_dir / name)
    with gzip.open(raw_dir / name, "rt", encoding="utf-8", newline="") as file:
        assert fields == list(csv.reader(file))
    assert len(fields) == rows


def test_gzip_or_not_is_told_by_the_name(write):
    content = b"a,b\n1,2\n"
    plain, packed = (
        write(content),
        write(gzip.compress(content, mtime=0), "table.csv.gz"),
    )
    assert read_rows(plain) == read_rows(packed) == read_rows(str(plain))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_lines_are_counted_however_they_end(write, end):
    text = end.join(["a,b", "", f'"x{end}y",1', "c,d", ""])
    rows = read_rows(write(text.encode()))
    assert [row.line for row in rows] == [1, 3, 5]
    assert rows[1].fields == [f"x{end}y", "1"]


def test_a_byte_order_mark_is_dropped(write):
    assert fields_of(write(b"\xef\xbb\xbfname,1\n")) == [["name", "1"]]


def test_quotes_commas_and_space_stay(write):
    content = 'a," b ""c"", d"\n é,\n'.encode()
    assert fields_of(write(content)) == [["a", ' b "c", d'], [" é", ""]]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "t.csv", r"t\.csv is empty"),
        (b"\n\r\n\n", "t.csv", r"t\.csv is empty"),
        (b"", "t.csv.gz", r"t\.csv\.gz is empty"),
        (b"\xef\xbb\xbf", "t.csv", r"t\.csv is empty"),
        (b"1,2\n\n3\n", "t.csv", r"line 3 has 1 fields, not 2 as line 1"),
        (b"\n1,2\n3,4,5\n", "t.csv", r"line 3 has 3 fields, not 2 as line 2"),
        (b"1,2\n", "t.csv.gz", r"t\.csv\.gz is no gzip file, though .* ends in \.gz"),
        (
            gzip.compress(b"1,2\n", mtime=0),
            "t.csv",
            r"gzip-compressed: let its name end in \.gz",
        ),
        (
            gzip.compress(b"1,2\n", mtime=0)[:-9],
            "t.csv.gz",
            r"damaged or cut short \(.+\)",
        ),
        (
            gzip.compress(b"1,2\n", mtime=0)[:5],
            "t.csv.gz",
            r"damaged or cut short \(.+\)",
        ),
        (
            gzip.compress(b"1,2\n", mtime=0) + b"tail",
            "t.csv.gz",
            r"damaged or cut short",
        ),
        (b"a\nb\n\xff,1\n", "t.csv", r"line 3 holds the byte 0xff, which is no UTF-8"),
        (b"\xef\xbb\xbfa\r\n\xe9", "t.csv", r"line 2 holds the byte 0xe9"),
        ("ä,b\n".encode("utf-16-le"), "t.csv", r"line 1 holds a NUL byte.*UTF-16"),
        (b"\0", "t.csv", r"line 1 holds a NUL byte"),
        (b"a\r\rb\0", "t.csv", r"line 3 holds a NUL byte"),
        (b'a\n\n"b\nc', "t.csv", r"line 3 is no CSV \(unexpected end of data\)"),
        (b'a\n"b"c\n', "t.csv", r"line 2 is no CSV \(.*expected after.*\)"),
        (b"x" * 200_000, "t.csv", r"line 1 is no CSV \(field larger than .* limit"),
    ],
)
def test_a_damaged_file_is_refused(write, content, name, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(content, name))


@pytest.mark.parametrize("flip", [0, 3, 12, 15, -8, -5, -4, -1])
def test_a_flipped_byte_in_a_gzip_file_is_refused(write, flip):
    packed = bytearray(gzip.compress(b"1,2,3\n4,5,6\n", mtime=0))
    packed[flip] ^= 0xFF
    with pytest.raises(ValueError, match=r"t\.csv\.gz is (damaged|no gzip file)"):
        read_rows(write(bytes(packed), "t.csv.gz"))


def test_a_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_rows(tmp_path / "absent.csv")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        read_rows(tmp_path)


# Numbers.


def test_diabetes_reads_as_numpy_reads_it(raw_dir):
    table = read_numeric_csv(raw_dir / "diabetes.csv.gz", header=False)
    with gzip.open(raw_dir / "diabetes.csv.gz", "rt") as file:
        expected = np.loadtxt(file, delimiter=",", dtype=np.float32)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, expected)
    assert table.shape == (759, 9)
    assert np.bincount(table[:, -1].astype(int)).tolist() == [263, 496]


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(
                st.floats(width=32, allow_nan=False, allow_infinity=False),
                min_size=width,
                max_size=width,
            ),
            min_size=1,
            max_size=5,
        )
    )
)
def test_any_numbers_read_as_numpy_reads_them(folder, numbers):
    path = folder / "numbers.csv"
    path.write_text("\n".join(",".join(map(repr, row)) for row in numbers))
    expected = np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    np.testing.assert_array_equal(read_numeric_csv(path, header=False), expected)


def test_a_header_is_skipped(write):
    table = read_numeric_csv(write(b"a,b\n1, 2.5\n-3e2,4\n"), header=True)
    np.testing.assert_array_equal(table, np.float32([[1, 2.5], [-300, 4]]))


@pytest.mark.parametrize(
    "field",
    ["", "x", "nan", "inf", "-inf", "1e39", "-3.5e38", "1_000", "0x10", "1 2", "1e400"],
)
def test_what_is_no_finite_number_is_refused(write, field):
    path = write(f"1,2\n\n3,{field}\n".encode())
    message = rf"table\.csv line 3 column 2: '{field}' is no finite float32 number"
    with pytest.raises(ValueError, match=message):
        read_numeric_csv(path, header=False)


def test_a_header_that_is_not_declared_is_refused(write):
    with pytest.raises(ValueError, match=r"line 1 column 1: 'age' is no finite"):
        read_numeric_csv(write(b"age,label\n1,2\n"), header=False)


def test_a_header_alone_is_refused(write):
    with pytest.raises(ValueError, match=r"table\.csv has a header and no rows below"):
        read_numeric_csv(write(b"a,b\n"), header=True)


def test_the_largest_number_is_float32s():
    largest = float(np.finfo(np.float32).max)
    assert parse_number("t.csv", 1, 1, repr(-largest)) == -largest
    with pytest.raises(ValueError, match="no finite float32"):
        parse_number("t.csv", 1, 1, repr(largest * 1.001))


def test_a_long_field_is_shortened_in_the_message():
    with pytest.raises(ValueError, match=r"column 'Fare': 'x+\.\.\.x+'") as caught:
        parse_number("t.csv", 7, "Fare", "x" * 100_000)
    assert len(str(caught.value)) < 200


# Writing.

texts = st.text(st.characters(exclude_characters="\0\ufeff", codec="utf-8"), max_size=6)


@settings(max_examples=100)
@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.lists(texts, min_size=width, max_size=width), min_size=1, max_size=4
        )
    )
)
@example([["\r", "\n"], ['"', ","], ["", " "], ["\r\n", "\x1c\u2028"]])
def test_what_is_written_reads_back(folder, rows):
    path = folder / "written.csv"
    write_rows(path, rows)
    assert fields_of(path) == rows


def test_a_failed_write_leaves_the_old_file(write):
    def rows():
        yield ["new"]
        raise RuntimeError("no more rows")

    path = write(b"old\n")
    with pytest.raises(RuntimeError, match="no more rows"):
        write_rows(path, rows())
    assert path.read_bytes() == b"old\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_written_file_replaces_the_old_one_at_once(write, monkeypatch):
    """Whole and on the disk before it takes the name."""
    path = write(b"old\n")
    calls = []
    replace, fsync = os.replace, os.fsync

    def watched_fsync(descriptor):
        fsync(descriptor)
        calls.append("fsync")

    def watched_replace(source, target):
        calls.extend([path.read_bytes(), Path(source).read_bytes()])
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_rows(str(path), [["é", "new"]])
    assert calls == ["fsync", b"old\n", "é,new\r\n".encode()]
    assert path.read_bytes() == "é,new\r\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_file_without_a_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"s\.csv is to be written, and .*no"):
        write_rows(tmp_path / "no" / "s.csv", [["a"]])
    with pytest.raises(OSError, match=str(tmp_path)):
        write_rows(tmp_path, [["a"]])


# Whatever the bytes, a reader returns or says in words what is wrong.

READERS = {
    "rows": read_rows,
    "numbers": lambda path: read_numeric_csv(path, header=False),
    "header": lambda path: read_numeric_csv(path, header=True),
    "names": read_names,
    "table": lambda path: read_table(
        path,
        Schema(numeric=("a",), categorical=("b",), label="c", classes=("0", "1")),
        labelled=True,
    ),
}
alphabet = st.sampled_from(
    [*'01a,"\n\r\0 é_-.', "nan", "1e99", "a,b,c\n", "1,x,0\n", "\ufeff", '""']
)
contents = st.one_of(
    st.binary(max_size=60),
    st.lists(alphabet, max_size=30).map(lambda parts: "".join(parts).encode()),
    st.lists(alphabet, max_size=9).map(
        lambda parts: ("a,b,c\n" + "".join(parts)).encode()
    ),
)


@st.composite
def damaged_gzip(draw):
    packed = bytearray(gzip.compress(draw(contents), mtime=0))
    if draw(st.booleans()):
        packed[draw(st.integers(0, len(packed) - 1))] = draw(st.integers(0, 255))
    return bytes(
        packed[: draw(st.integers(0, len(packed)))] + draw(st.binary(max_size=3))
    )


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@settings(max_examples=150)
@given(
    st.one_of(
        st.tuples(st.just("f.csv"), contents),
        st.tuples(st.just("f.csv.gz"), st.one_of(contents, damaged_gzip())),
        st.tuples(st.just("f.csv.gz"), contents.map(gzip.compress)),
    )
)
def test_any_bytes_are_read_or_refused_in_words(folder, reader, case):
    name, content = case
    path = folder / name
    path.write_bytes(content)
    error = refusal(reader, path)
    assert error is None or type(error) is ValueError
    assert error is None or str(path) in str(error)
    assert len(str(error)) < 600


def refusal(reader, path):
    try:
        reader(path)
    except Exception as error:
        return error
    return None


@settings(max_examples=150)
@given(contents)
def test_rows_are_those_of_the_csv_module(folder, content):
    path = folder / "oracle.csv"
    path.write_bytes(content)
    try:
        rows = fields_of(path)
    except ValueError:
        return
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    assert rows == [fields for fields in csv.reader(text) if fields]

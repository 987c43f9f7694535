"""CSV files, plain or gzip: read with line numbers, written whole or not at all.

A file is data: nothing in it is evaluated, and whatever is wrong with it surfaces as a
`ValueError` that names the file and the line.
"""

import csv
import gzip
import io
import os
import reprlib
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdl.files import write_whole

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Row(NamedTuple):
    """The fields of one record, and the line it begins on, counted from 1."""

    line: int
    fields: list[str]


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The records of a CSV file in UTF-8, gzip-compressed if its name ends in `.gz`.

    There is at least one, and all have as many fields as the first. Blank lines are
    skipped and a byte order mark is dropped; fields are left as they stand.

    Raises:
        ValueError: the file is empty, damaged, no UTF-8 or no CSV, or a line has
            another number of fields.
        OSError: it cannot be opened.
    """
    raw = _read_bytes(Path(path))
    rows = _parse(path, _decode(path, raw))
    if not rows:
        raise ValueError(f"{path} is empty")
    first = rows[0]
    for row in rows:
        if len(row.fields) != len(first.fields):
            raise ValueError(
                f"{path} line {row.line} has {len(row.fields)} fields, not "
                f"{len(first.fields)} as line {first.line}"
            )
    return rows


def read_numeric_csv(
    path: str | os.PathLike[str], *, header: bool
) -> Float32[np.ndarray, "rows columns"]:
    """The numbers of a CSV file, rounded to float32 once.

    As `np.loadtxt(path, delimiter=",", dtype=np.float32)`, which accepts NaN where this
    does not. The notes' diabetes.csv.gz has no header, and the label as last column:
    `x, y = table[:, :-1], table[:, -1]`.

    Args:
        header: whether the first line names the columns; it is then skipped.

    Raises:
        ValueError: as for `read_rows`, or a field is no finite float32 number, or there
            are no rows below the header.
        OSError: the file cannot be opened.
    """
    rows = read_rows(path)[header:]
    if not rows:
        raise ValueError(f"{path} has a header and no rows below it")
    return np.array(
        [
            [
                parse_number(path, row.line, column, field)
                for column, field in enumerate(row.fields, 1)
            ]
            for row in rows
        ],
        np.float32,
    )


def parse_number(
    path: str | os.PathLike[str], line: int, column: int | str, field: str
) -> float:
    """The number that a field holds; the rest says where it stands, for the message.

    Raises:
        ValueError: it is no number, not finite, or beyond float32's range.

    >>> parse_number("table.csv", 7, "Fare", " 71.2833")
    71.2833
    """
    try:
        value = float(field)
    except ValueError:
        value = np.nan
    # Python alone reads 1_000 as a number.
    if not abs(value) <= FLOAT32_MAX or "_" in field:
        raise ValueError(
            f"{path} line {line} column {column!r}: {reprlib.repr(field)} is no finite "
            "float32 number"
        )
    return value


def write_rows(path: str | os.PathLike[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a CSV file in UTF-8; a file that is there is replaced at once, or not.

    Raises:
        OSError: it cannot be written; a file of that name is left as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} is to be written, and {path.parent} is absent")
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_whole(path, text.getvalue())


def _read_bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    if raw and not raw.startswith(b"\x1f\x8b"):
        raise ValueError(f"{path} is no gzip file, though its name ends in .gz")
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or cut short ({error})") from error


def _decode(path: str | os.PathLike[str], raw: bytes) -> str:
    if raw.startswith(b"\x1f\x8b"):
        raise ValueError(f"{path} is gzip-compressed: let its name end in .gz")
    if (nul := raw.find(b"\0")) >= 0:
        raise ValueError(
            f"{path} line {_line(raw[:nul])} holds a NUL byte, as binary files "
            "and UTF-16 do: save it as UTF-8"
        )
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} line {_line(raw[: error.start])} holds the byte "
            f"0x{raw[error.start]:02x}, which is no UTF-8: save the file as UTF-8"
        ) from error


def _line(before: bytes) -> int:
    """The number of the line that follows these bytes."""
    return len((before + b".").splitlines())


def _parse(path: str | os.PathLike[str], text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        for fields in reader:
            if fields:
                rows.append(Row(line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path} line {line} is no CSV ({error})") from error
    return rows

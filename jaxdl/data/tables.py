"""Tables of numeric and categorical columns, read from CSV files by a declared schema.

From Kaggle's files to a submission, with `jaxdl.data.encoding` and `.submission`:

    train = read_table("train.csv", TITANIC, labelled=True)
    test = read_table("test.csv", TITANIC, labelled=False)
    encoder = fit_encoder(TITANIC, train)
    x, test_x = encode(encoder, train), encode(encoder, test)
    ...
    write_submission("submission.csv", TITANIC, test.id, predictions)
"""

import os
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from jaxdl.data.csv_files import Row, parse_number, read_rows


@dataclass(frozen=True)
class Schema:
    """What the columns of a CSV file hold.

    A file may have no other columns; those that are `ignored` are not read.

    Raises:
        ValueError: a name is there twice, there is neither a numeric nor a categorical
            column, or a label without classes.

    >>> Schema(numeric=("hours",), label="passed", classes=("no", "yes")).names
    ('passed', 'hours')
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    label: str | None = None
    classes: tuple[str, ...] = ()
    """the values that the label column may have, in the order of their integers"""
    id: str | None = None
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"the schema names {_listed(twice)} more than once")
        if not self.numeric + self.categorical:
            raise ValueError("the schema has no numeric and no categorical column")
        if (self.label is None) != (not self.classes):
            raise ValueError(
                f"label={self.label!r} and classes={self.classes} need each other"
            )

    @property
    def names(self) -> tuple[str, ...]:
        single = tuple(name for name in (self.id, self.label) if name is not None)
        return single + self.numeric + self.categorical + self.ignored


TITANIC = Schema(
    numeric=("Age", "SibSp", "Parch", "Fare"),
    categorical=("Pclass", "Sex", "Embarked"),
    label="Survived",
    classes=("0", "1"),
    id="PassengerId",
    ignored=("Name", "Ticket", "Cabin"),
)
OTTO = Schema(
    numeric=tuple(f"feat_{i}" for i in range(1, 94)),
    label="target",
    classes=tuple(f"Class_{i}" for i in range(1, 10)),
    id="id",
)


class Table(NamedTuple):
    """Columns of n examples each; a pytree, so `random_split` splits it.

    `numeric` are float64 with NaN where the file has an empty field, `categorical` are
    strings (dtype object) with "" there. `label` is int32, an index into the schema's
    classes, and `id` the strings of the id column; None where there is no such column.
    """

    numeric: dict[str, np.ndarray]
    categorical: dict[str, np.ndarray]
    label: np.ndarray | None
    id: np.ndarray | None


def read_table(
    path: str | os.PathLike[str], schema: Schema, *, labelled: bool
) -> Table:
    """The columns of a CSV file, plain or gzip, whose first line names them.

    Space around a field is dropped. An empty field is a missing value, which only
    numeric and categorical columns may have.

    Args:
        labelled: whether the label column is read; a file without one can be read then.

    Raises:
        ValueError: as for `read_rows`; a column is absent, named twice or not in the
            schema; a numeric field is no finite number; a label is none of the
            classes, or an id is empty.
        OSError: the file cannot be opened.
    """
    if labelled and schema.label is None:
        raise ValueError("labelled=True, and the schema has no label")
    header, *rows = read_rows(path)
    names = [name.strip() for name in header.fields]
    _check_names(path, names, schema, labelled)
    if not rows:
        raise ValueError(f"{path} has a header and no rows below it")
    fields = zip(*(row.fields for row in rows), strict=True)
    columns = dict(zip(names, fields, strict=True))
    return Table(
        numeric={
            name: _numbers(path, rows, name, columns[name]) for name in schema.numeric
        },
        categorical={name: _strings(columns[name]) for name in schema.categorical},
        label=_labels(path, rows, schema, columns) if labelled else None,
        id=_ids(path, rows, schema.id, columns) if schema.id else None,
    )


def _check_names(
    path: str | os.PathLike[str], names: list[str], schema: Schema, labelled: bool
) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path} names {_listed(twice)} twice in its header")
    optional = set(schema.ignored) | (set() if labelled else {schema.label})
    absent = [
        name for name in schema.names if name not in names and name not in optional
    ]
    if absent:
        raise ValueError(
            f"{path} lacks {_listed(absent)}: its header names {_listed(names)}"
        )
    unknown = [name for name in names if name not in schema.names]
    if unknown:
        raise ValueError(
            f"{path} has {_listed(unknown)}, which the schema does not name: list as "
            "ignored what is not to be read"
        )


def _numbers(
    path: str | os.PathLike[str], rows: list[Row], name: str, fields: Sequence[str]
) -> Float64[np.ndarray, " n"]:
    return np.array(
        [
            parse_number(path, row.line, name, field) if field.strip() else np.nan
            for row, field in zip(rows, fields, strict=True)
        ]
    )


def _strings(fields: Sequence[str]) -> np.ndarray:
    return np.array([field.strip() for field in fields], object)


def _labels(
    path: str | os.PathLike[str],
    rows: list[Row],
    schema: Schema,
    columns: dict[str, tuple[str, ...]],
) -> Int32[np.ndarray, " n"]:
    fields = columns[str(schema.label)]
    index = {name: i for i, name in enumerate(schema.classes)}
    for row, field in zip(rows, fields, strict=True):
        if field.strip() not in index:
            raise ValueError(
                f"{path} line {row.line} column {schema.label!r}: "
                f"{reprlib.repr(field)} is none of {_listed(schema.classes)}"
            )
    return np.array([index[field.strip()] for field in fields], np.int32)


def _ids(
    path: str | os.PathLike[str],
    rows: list[Row],
    name: str,
    columns: dict[str, tuple[str, ...]],
) -> np.ndarray:
    ids = _strings(columns[name])
    for row, id_ in zip(rows, ids, strict=True):
        if not id_:
            raise ValueError(f"{path} line {row.line} column {name!r} is empty")
    return ids


def _listed(names: Sequence[str]) -> str:
    shown = [reprlib.repr(name) for name in names[:10]]
    return ", ".join(shown + ["..."] * (len(names) > 10))

"""Surnames by country or language, as padded sequences of character codes."""

import os
import reprlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, PRNGKeyArray

from jaxdl.data.csv_files import read_rows
from jaxdl.data.splits import random_split

VOCABULARY_SIZE = 128
"""Character codes are ASCII's, 1 to 127; 0 pads."""


class NameData(NamedTuple):
    """A training and a test set of names.

    Each holds "text", int32 of shape (n, max_length), the names' ASCII codes followed
    by zeros; "length", int32 of shape (n,); and "label", int32 of shape (n,), an index
    into `class_names`, which are sorted. `max_length` is the same in both.
    """

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    class_names: tuple[str, ...]


def load_names(
    train_path: str | os.PathLike[str],
    test_path: str | os.PathLike[str] | None = None,
    key: PRNGKeyArray | None = None,
) -> NameData:
    """The names of two CSV files of name and country, without headers, plain or gzip.

    The countries are those of the training file, in alphabetical order. Without a test
    file, the key picks a third of the training file's rows as the test set.

    Raises:
        ValueError: as for `read_names`, the test file has a country that the training
            file has not, or there is neither a test file nor a key.
        OSError: a file cannot be opened.
    """
    if test_path is None:
        if key is None:
            raise ValueError("one file of names needs a key that picks the test set")
        data, _, class_names = load_names(train_path, train_path)
        train, test = random_split(key, data, [2 / 3, 1 / 3])
        return NameData(train, test, class_names)
    train_names, train_countries = read_names(train_path)
    class_names = tuple(sorted(set(train_countries)))
    test_names, test_countries = read_names(test_path, class_names)
    max_length = max(map(len, train_names + test_names))
    return NameData(
        train={
            **encode_names(train_names, max_length),
            "label": encode_countries(train_countries, class_names),
        },
        test={
            **encode_names(test_names, max_length),
            "label": encode_countries(test_countries, class_names),
        },
        class_names=class_names,
    )


def read_names(
    path: str | os.PathLike[str], countries: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """The names and the countries of a CSV file of two columns, without a header.

    A name is kept to the letter, a space at its end too, as the notes' files have some.

    Args:
        countries: those that are allowed; all of them by default.

    Raises:
        ValueError: as for `read_rows`; there are not two columns; a name is empty or
            has a character outside the vocabulary; a country is empty or not allowed.
        OSError: the file cannot be opened.
    """
    rows = read_rows(path)
    if len(rows[0].fields) != 2:
        raise ValueError(
            f"{path} has {len(rows[0].fields)} columns, not the two of name and country"
        )
    for line, (name, country) in rows:
        _check_name(f"{path} line {line}", name)
        if not country:
            raise ValueError(f"{path} line {line} has an empty country")
        if countries is not None and country not in countries:
            raise ValueError(
                f"{path} line {line}: the country {reprlib.repr(country)} is none of "
                f"the {len(countries)} known: {', '.join(sorted(countries))}"
            )
    names, found = zip(*(row.fields for row in rows), strict=True)
    return list(names), list(found)


def encode_names(
    names: Sequence[str], max_length: int | None = None
) -> dict[str, Int32[np.ndarray, "..."]]:
    """ASCII codes padded with zeros: "text" of shape (n, max_length), "length" of (n,).

    The codes are the notes' `ord(c)`, and rows stay in the order of the names: nothing
    needs them sorted by length.

    Args:
        max_length: by default the length of the longest name.

    Raises:
        ValueError: there are no names, or one is empty, longer than `max_length` or has
            a character outside the vocabulary.

    >>> encode_names(["Li", "Abe"])["text"]
    array([[ 76, 105,   0],
           [ 65,  98, 101]], dtype=int32)
    """
    if not names:
        raise ValueError("there are no names to encode")
    if max_length is None:
        max_length = max(map(len, names))
    text = np.zeros((len(names), max_length), np.int32)
    for index, name in enumerate(names):
        _check_name(f"names[{index}]", name)
        if len(name) > max_length:
            raise ValueError(
                f"names[{index}], {reprlib.repr(name)}, has {len(name)} characters, "
                f"more than max_length={max_length}"
            )
        text[index, : len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    return {"text": text, "length": np.array([len(name) for name in names], np.int32)}


def encode_countries(
    countries: Sequence[str], class_names: Sequence[str]
) -> Int32[np.ndarray, " n"]:
    """The index of each country in `class_names`.

    Raises:
        ValueError: one is not among them.

    >>> encode_countries(["Irish", "Czech"], ("Czech", "Irish"))
    array([1, 0], dtype=int32)
    """
    label = {name: i for i, name in enumerate(class_names)}
    unknown = [country for country in countries if country not in label]
    if unknown:
        raise ValueError(
            f"the country {unknown[0]!r} is none of the {len(class_names)} class names"
        )
    return np.array([label[country] for country in countries], np.int32)


def _check_name(where: str, name: str) -> None:
    if not name:
        raise ValueError(f"{where} has an empty name")
    outside = next((c for c in name if not 0 < ord(c) < VOCABULARY_SIZE), None)
    if outside is not None:
        raise ValueError(
            f"{where}: the name {reprlib.repr(name)} has the character {outside!r} "
            f"(U+{ord(outside):04X}), which is not ASCII: spell it without"
        )

"""Features of a mixed table, standardised and one-hot by the training part alone."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from jaxdl.data.csv_files import FLOAT32_MAX
from jaxdl.data.tables import Schema, Table


class Scale(NamedTuple):
    """Of one numeric column in the training part, its missing values left out."""

    mean: float
    std: float
    has_missing: bool


class Encoder(NamedTuple):
    """What `fit_encoder` learned of each column, in the schema's order."""

    numeric: dict[str, Scale]
    categorical: dict[str, tuple[str, ...]]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One for each column of what `encode` returns: "Age", "Sex=female"."""
        names: list[str] = []
        for name, scale in self.numeric.items():
            names += [name, f"{name} missing"] if scale.has_missing else [name]
        for name, categories in self.categorical.items():
            names += [f"{name}={value}" for value in categories] + [f"{name} unknown"]
        return tuple(names)


def fit_encoder(schema: Schema, train: Table) -> Encoder:
    """Means, standard deviations (dividing by n) and categories of the training part.

    A column that does not vary is given the standard deviation 1, as scikit-learn's
    `StandardScaler` does.

    Raises:
        ValueError: the table lacks a column of the schema, or one has no number at all.
    """
    _check_columns(train, schema.numeric, schema.categorical)
    return Encoder(
        {name: _fit_scale(name, train.numeric[name]) for name in schema.numeric},
        {
            name: tuple(sorted(set(train.categorical[name]) - {""}))
            for name in schema.categorical
        },
    )


def encode(encoder: Encoder, table: Table) -> Float32[np.ndarray, "n features"]:
    """Features of any part, by what the encoder learned of the training part.

    A numeric column becomes (value - mean) / std, computed in float64 and rounded once,
    with 0, the mean, for a missing value. If values were missing in the training part,
    a column of 0 and 1 says where they are. A categorical column becomes one column of
    0 and 1 for each category of the training part, and one for a missing or a new one.

    Raises:
        ValueError: the table lacks a column of the encoder, or a feature leaves
            float32's range.
    """
    _check_columns(table, encoder.numeric, encoder.categorical)
    columns: list[np.ndarray] = []
    for name, (mean, std, has_missing) in encoder.numeric.items():
        missing = np.isnan(table.numeric[name])
        columns.append(np.where(missing, 0, (table.numeric[name] - mean) / std))
        if has_missing:
            columns.append(missing)
    for name, categories in encoder.categorical.items():
        one_hot = table.categorical[name][:, None] == np.array(categories, object)
        columns += [*one_hot.T, ~one_hot.any(axis=1)]
    x = np.stack(columns, axis=1).astype(np.float64)
    beyond = np.argwhere(~(np.abs(x) <= FLOAT32_MAX))
    if len(beyond):
        index, feature = beyond[0]
        name = encoder.feature_names[feature]
        raise ValueError(
            f"row {index} of column {name!r} is {table.numeric[name][index]}, which "
            f"leaves float32's range when standardised by {encoder.numeric[name]}"
        )
    return x.astype(np.float32)


def _fit_scale(name: str, values: Float64[np.ndarray, " n"]) -> Scale:
    present = values[~np.isnan(values)]
    if not len(present):
        raise ValueError(
            f"column {name!r} has no value in the {len(values)} training rows: "
            "take it out of the schema's numeric columns"
        )
    # Of equal values, NumPy's mean and standard deviation are off by a rounding error.
    varies = present.min() < present.max()
    mean = float(present.mean()) if varies else float(present[0])
    std = float(present.std()) if varies else 0.0
    return Scale(mean, std or 1.0, len(present) < len(values))


def _check_columns(
    table: Table, numeric: Iterable[str], categorical: Iterable[str]
) -> None:
    absent = [name for name in numeric if name not in table.numeric]
    absent += [name for name in categorical if name not in table.categorical]
    if absent:
        raise ValueError(
            f"the table, read by another schema, lacks {', '.join(map(repr, absent))}"
        )

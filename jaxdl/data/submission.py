"""Predictions as the CSV file that a Kaggle competition asks for."""

import os
from collections import Counter
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdl.data.csv_files import write_rows
from jaxdl.data.tables import Schema


def write_submission(
    path: str | os.PathLike[str],
    schema: Schema,
    ids: Sequence[str] | np.ndarray,
    predictions: Int[Array | np.ndarray, " n"] | Float[Array | np.ndarray, "n classes"],
) -> None:
    """Writes predictions in the form that Kaggle asks for.

    Integers, an index into the schema's classes each, are written as one column of
    class names (Titanic: PassengerId,Survived). Probabilities are written as one column
    for each class, to nine digits (Otto: id,Class_1,...,Class_9).

    Raises:
        ValueError: ids are empty, occur twice or are not as many as predictions; a
            prediction is no class, or a probability is not between 0 and 1.
        OSError: the file cannot be written; one of that name is left as it was.
    """
    if schema.id is None or schema.label is None:
        raise ValueError("a submission needs a schema with an id and a label column")
    predictions = np.asarray(predictions)
    header, body = _submission(schema, predictions)
    if len(ids) != len(predictions):
        raise ValueError(f"{len(ids)} ids for {len(predictions)} predictions")
    counts = Counter(ids)
    wrong = [id_ for id_ in counts if id_ == "" or counts[id_] > 1]
    if wrong:
        raise ValueError(
            f"ids, which are to be unique, are empty or twice: {wrong[:9]}"
        )
    rows = ([id_, *fields] for id_, fields in zip(ids, body, strict=True))
    write_rows(path, [[schema.id, *header], *rows])


def _submission(
    schema: Schema, predictions: np.ndarray
) -> tuple[list[str], list[list[str]]]:
    """The header and the fields that follow the id."""
    num_classes = len(schema.classes)
    if predictions.ndim == 1 and jnp.issubdtype(predictions.dtype, jnp.integer):
        _check_range("classes", predictions, num_classes - 1)
        return [str(schema.label)], [[schema.classes[i]] for i in predictions]
    if predictions.shape[1:] == (num_classes,) and jnp.issubdtype(
        predictions.dtype, jnp.floating
    ):
        _check_range("probabilities", predictions, 1)
        rows = [[f"{p:.9g}" for p in row] for row in predictions.tolist()]
        return list(schema.classes), rows
    raise ValueError(
        f"predictions of shape {predictions.shape} and {predictions.dtype} must be "
        f"integers of shape (n,) or probabilities of shape (n, {num_classes})"
    )


def _check_range(what: str, values: np.ndarray, largest: int) -> None:
    outside = np.argwhere(~((values >= 0) & (values <= largest)))
    if len(outside):
        index = tuple(outside[0].tolist())
        raise ValueError(
            f"predictions{list(index)}={values[index]}: {what} must lie in 0..{largest}"
        )

"""Tables of numbers that come with scikit-learn, whole and in memory."""

from typing import NamedTuple

import numpy as np

from jaxdl.optional import import_optional

BUNDLED_TABLES = ("breast_cancer", "diabetes_progression", "iris", "wine")


class BundledTable(NamedTuple):
    """Examples as arrays, and what their columns and classes are called.

    `data` holds "x", float32 of shape (n, features), and "label", int32 of shape (n,),
    an index into `class_names`; or, where a number is to be predicted, "y", float32 of
    shape (n,), and `class_names` is empty.
    """

    data: dict[str, np.ndarray]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


def load_bundled(name: str) -> BundledTable:
    """The table of that name, in the order in which it is stored.

    Iris and wine lie class by class: shuffle before a split, as `random_split` does.
    Nothing is standardised: do that after a split, by the training part's mean and
    standard deviation.

    - "breast_cancer": 569 tumours, 30 features of their cells, malignant or benign.
    - "iris": 150 flowers, 4 lengths in cm, 3 species.
    - "wine": 178 wines, 13 measurements, 3 growers.
    - "diabetes_progression": 442 patients, 10 features; "y" measures the disease a year
      later. It is not the notes' diabetes.csv.gz.

    Raises:
        ValueError: no such table.
        ImportError: scikit-learn is not installed.

    >>> load_bundled("iris").class_names
    ('setosa', 'versicolor', 'virginica')
    """
    if name not in BUNDLED_TABLES:
        raise ValueError(
            f"unknown table {name!r}: there are {', '.join(BUNDLED_TABLES)}"
        )
    datasets = import_optional("sklearn.datasets", f"the table {name!r}")
    if name == "diabetes_progression":
        # scaled=True would scale by all of the patients, those of the test set too.
        stored = datasets.load_diabetes(scaled=False)
        target = {"y": stored.target.astype(np.float32)}
    else:
        stored = getattr(datasets, f"load_{name}")()
        target = {"label": stored.target.astype(np.int32)}
    return BundledTable(
        data={"x": stored.data.astype(np.float32), **target},
        feature_names=tuple(str(name) for name in stored.feature_names),
        class_names=tuple(str(name) for name in stored.get("target_names", ())),
    )

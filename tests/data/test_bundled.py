import numpy as np
import pytest
from sklearn import datasets

from jaxdl.data.bundled import BUNDLED_TABLES, load_bundled


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("breast_cancer", (569, 30), [212, 357]),
        ("iris", (150, 4), [50, 50, 50]),
        ("wine", (178, 13), [59, 71, 48]),
    ],
)
def test_classes_are_those_of_scikit_learn(name, shape, counts):
    table = load_bundled(name)
    stored = getattr(datasets, f"load_{name}")()
    assert table.data.keys() == {"x", "label"}
    assert table.data["x"].dtype == np.float32
    assert table.data["label"].dtype == np.int32
    assert table.data["x"].shape == shape
    assert np.bincount(table.data["label"]).tolist() == counts
    np.testing.assert_array_equal(table.data["x"], stored.data.astype(np.float32))
    np.testing.assert_array_equal(table.data["label"], stored.target)
    assert table.feature_names == tuple(stored.feature_names)
    assert table.class_names == tuple(stored.target_names)
    assert {type(text) for text in table.feature_names + table.class_names} == {str}


def test_the_regression_table_is_not_scaled_by_its_test_part():
    table = load_bundled("diabetes_progression")
    x, y = table.data["x"], table.data["y"]
    assert table.data.keys() == {"x", "y"}
    assert (x.shape, x.dtype) == ((442, 10), np.float32)
    assert (y.shape, y.dtype) == ((442,), np.float32)
    assert table.class_names == ()
    assert table.feature_names[:3] == ("age", "sex", "bmi")
    # scikit-learn's default: centred, and each column's squares sum to 1.
    scaled, target = datasets.load_diabetes(return_X_y=True)
    np.testing.assert_array_equal(y, target)
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    by_hand = centred / np.sqrt((centred**2).sum(axis=0))
    np.testing.assert_allclose(by_hand, scaled, atol=1e-6)  # x is float32
    assert x[:, 0].min() == 19


@pytest.mark.parametrize("name", BUNDLED_TABLES)
def test_every_listed_table_loads(name):
    table = load_bundled(name)
    assert table.data["x"].shape[1] == len(table.feature_names)
    assert np.isfinite(table.data["x"]).all()


def test_an_unknown_table_is_refused():
    message = r"unknown table 'Iris': there are breast_cancer, .*, iris, wine$"
    with pytest.raises(ValueError, match=message):
        load_bundled("Iris")

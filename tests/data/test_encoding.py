import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jaxdl.data.encoding import Scale, encode, fit_encoder
from jaxdl.data.tables import TITANIC, Schema, Table, read_table

BOTH = Schema(numeric=("a", "b"), categorical=("c",))


def table_of(a, b, c):
    return Table(
        numeric={"b": np.array(b, np.float64), "a": np.array(a, np.float64)},
        categorical={"c": np.array(c, object)},
        label=None,
        id=None,
    )


def columns(numbers):
    names = [f"n{i}" for i in range(numbers.shape[1])]
    table = Table(dict(zip(names, numbers.T, strict=True)), {}, None, None)
    return Schema(numeric=tuple(names)), table


TRAIN = table_of([1, 3, np.nan, 5], [2, 2, 4, 8], ["u", "v", "", "u"])


def test_features_by_hand():
    encoder = fit_encoder(BOTH, TRAIN)
    names = ("a", "a missing", "b", "c=u", "c=v", "c unknown")
    assert encoder.feature_names == names
    x = encode(encoder, TRAIN)
    assert x.dtype == np.float32
    s = np.sqrt(8 / 3)
    expected = [
        [-2 / s, 0, -2 / np.sqrt(6), 1, 0, 0],
        [0, 0, -2 / np.sqrt(6), 0, 1, 0],
        [0, 1, 0, 0, 0, 1],
        [2 / s, 0, 4 / np.sqrt(6), 1, 0, 0],
    ]
    np.testing.assert_allclose(x, expected, rtol=1e-7)


def test_another_part_is_encoded_by_the_training_part():
    encoder = fit_encoder(BOTH, TRAIN)
    other = table_of([np.nan, 7], [np.nan, 0], ["w", "v"])
    expected = [
        [0, 1, 0, 0, 0, 1],
        [4 / np.sqrt(8 / 3), 0, -4 / np.sqrt(6), 0, 1, 0],
    ]
    np.testing.assert_allclose(encode(encoder, other), expected, rtol=1e-7)


def test_encoding_depends_on_nothing_but_the_encoder_and_the_row():
    encoder = fit_encoder(BOTH, TRAIN)
    rows = [
        table_of([a], [b], [c])
        for a, b, c in zip(
            TRAIN.numeric["a"],
            TRAIN.numeric["b"],
            TRAIN.categorical["c"],
            strict=True,
        )
    ]
    np.testing.assert_array_equal(
        np.concatenate([encode(encoder, row) for row in rows]), encode(encoder, TRAIN)
    )


# A mean near 1e6 is known to 1e-10 in float64, a 1e-7th of the least deviation here.
@pytest.mark.parametrize(("offset", "atol"), [(0, 1e-12), (1e6, 1e-6)])
def test_standardisation_agrees_with_pytorch_and_scikit_learn(rng, offset, atol):
    """Computed in float64 and rounded to float32 once, hence 2^-24."""
    scales = np.array([1e-3, 1, 10, 1e4, 3])
    train, test = (offset + rng.normal(size=(n, 5)) * scales for n in (57, 13))
    encoder = fit_encoder(*columns(train))
    std, mean = torch.std_mean(torch.tensor(train), dim=0, correction=0)
    x = encode(encoder, columns(test)[1])
    for expected in (
        ((torch.tensor(test) - mean) / std).numpy(),
        StandardScaler().fit(train).transform(test),
    ):
        np.testing.assert_allclose(x, expected, rtol=2**-24, atol=atol)
    fitted = np.array([scale[:2] for scale in encoder.numeric.values()])
    expected = np.stack([mean.numpy(), std.numpy()], axis=1)
    np.testing.assert_allclose(fitted, expected, rtol=max(1e-10, atol / 10), atol=1e-12)


def test_one_hot_agrees_with_scikit_learn(rng):
    train, test = (rng.choice(list("dbca"), (n, 1)).astype(object) for n in (40, 9))
    test[0] = "new"
    schema = Schema(categorical=("c",))
    tables = [Table({}, {"c": part[:, 0]}, None, None) for part in (train, test)]
    theirs = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train)
    encoder = fit_encoder(schema, tables[0])
    assert encoder.categorical["c"] == tuple(theirs.categories_[0])
    for part, table in zip((train, test), tables, strict=True):
        x = encode(encoder, table)
        np.testing.assert_array_equal(x[:, :-1], theirs.transform(part))
        np.testing.assert_array_equal(x[:, -1], 1 - x[:, :-1].sum(axis=1))


def test_titanic_is_standardised_by_its_training_part(raw_dir):
    train = read_table(raw_dir / "titanic_train.csv.gz", TITANIC, labelled=True)
    test = read_table(raw_dir / "titanic_test.csv.gz", TITANIC, labelled=False)
    encoder = fit_encoder(TITANIC, train)
    x, test_x = encode(encoder, train), encode(encoder, test)
    age = encoder.feature_names.index("Age")
    known = ~np.isnan(train.numeric["Age"])
    np.testing.assert_allclose(x[known, age].mean(dtype=np.float64), 0, atol=1e-7)
    np.testing.assert_allclose(x[known, age].std(dtype=np.float64), 1, rtol=1e-6)
    np.testing.assert_array_equal(x[~known, age], 0)
    np.testing.assert_array_equal(x[:, age + 1], ~known)
    expected = np.nan_to_num(
        (test.numeric["Age"] - np.nanmean(train.numeric["Age"]))
        / np.nanstd(train.numeric["Age"])
    )
    np.testing.assert_allclose(test_x[:, age], expected, rtol=1e-6)
    # Only the test part lacks a fare: it has the mean, and there is no column for it.
    fare = encoder.feature_names.index("Fare")
    assert "Fare missing" not in encoder.feature_names
    assert test_x[np.isnan(test.numeric["Fare"]), fare].tolist() == [0]
    one_hot = slice(encoder.feature_names.index("Pclass=1"), None)
    assert (test_x[:, one_hot].sum(axis=1) == 3).all()


@pytest.mark.parametrize("value", [0.1, 7.0, 1e30, -3.3e-30])
def test_a_column_that_does_not_vary_becomes_zero(value):
    schema, train = columns(np.full((11, 1), value))
    encoder = fit_encoder(schema, train)
    assert encoder.numeric["n0"].std == 1
    np.testing.assert_allclose(
        encode(encoder, train) / max(1, abs(value)), 0, atol=1e-9
    )


def test_a_spread_below_float64s_squares_counts_as_none():
    schema, train = columns(np.array([[0.0], [1e-200]]))
    assert fit_encoder(schema, train).numeric["n0"].std == 1


def test_the_largest_numbers_stay_finite():
    largest = float(np.finfo(np.float32).max)
    schema, train = columns(np.array([[largest], [-largest], [largest]]))
    np.testing.assert_allclose(
        encode(fit_encoder(schema, train), train)[:, 0],
        [0.5**0.5, -(2**0.5), 0.5**0.5],
        rtol=1e-6,
    )


def test_a_category_column_that_is_all_missing_is_unknown():
    train = Table({}, {"c": np.array(["", ""], object)}, None, None)
    encoder = fit_encoder(Schema(categorical=("c",)), train)
    assert encoder.feature_names == ("c unknown",)
    assert encode(encoder, train).tolist() == [[1], [1]]


def test_a_part_of_no_rows_has_no_features():
    encoder = fit_encoder(BOTH, TRAIN)
    assert encode(encoder, table_of([], [], [])).shape == (0, 6)


def test_a_column_without_a_number_is_refused():
    message = r"column 'a' has no value in the 2 training rows"
    with pytest.raises(ValueError, match=message):
        fit_encoder(BOTH, table_of([np.nan, np.nan], [1, 2], ["u", "v"]))


def test_a_table_of_another_schema_is_refused():
    other = Table({"a": np.zeros(2)}, {}, None, None)
    message = r"the table, read by another schema, lacks 'b', 'c'"
    with pytest.raises(ValueError, match=message):
        fit_encoder(BOTH, other)
    with pytest.raises(ValueError, match=message):
        encode(fit_encoder(BOTH, TRAIN), other)


@pytest.mark.parametrize("value", [0.1, 1.7e18 + 123456789, 1e30])
def test_a_constant_column_is_zero(value):
    schema, table = columns(np.full((891, 1), value))
    assert not encode(fit_encoder(schema, table), table).any()


def test_a_feature_beyond_float32_is_refused():
    encoder = fit_encoder(*columns(np.array([[0.0, 1], [1e-30, 2]])))
    assert encoder.numeric["n0"] == Scale(5e-31, 5e-31, False)
    _, test = columns(np.array([[0.0, 1], [1e9, 1]]))
    with pytest.raises(ValueError, match=r"row 1 of column 'n0' is 1000000000\.0, .*f"):
        encode(encoder, test)

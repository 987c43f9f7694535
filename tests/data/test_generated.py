import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxdl.data import random_split
from jaxdl.data.encoding import encode, fit_encoder
from jaxdl.data.generated import (
    OTTO_CLASS_PROBABILITIES,
    generate_otto,
    generate_titanic,
    otto_means,
    titanic_log_odds,
)
from jaxdl.data.tables import OTTO, TITANIC, read_table

GENERATORS = {"titanic": (TITANIC, generate_titanic), "otto": (OTTO, generate_otto)}
both = pytest.mark.parametrize(
    ("schema", "generate"), GENERATORS.values(), ids=GENERATORS
)


def leaves(table):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(table)]


@both
def test_columns_are_those_that_kaggles_files_have(schema, generate):
    table = generate(jax.random.key(0), 7)
    assert tuple(table.numeric) == schema.numeric
    assert tuple(table.categorical) == schema.categorical
    assert {column.dtype for column in table.numeric.values()} == {np.dtype(np.float64)}
    assert all(column.dtype == object for column in table.categorical.values())
    assert table.label.dtype == np.int32
    assert table.id.tolist() == list("1234567")
    assert {leaf.shape for leaf in leaves(table)} == {(7,)}


@both
def test_a_key_names_the_table(schema, generate):
    first, again = (generate(jax.random.key(3), 50) for _ in range(2))
    other = generate(jax.random.key(4), 50)
    for a, b in zip(leaves(first), leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.label, other.label)


@both
def test_precision_and_the_old_kind_of_key_change_nothing(schema, generate):
    table = generate(jax.random.key(3), 50)
    with jax.enable_x64(True):
        wide = generate(jax.random.key(3), 50)
    for a, b in zip(leaves(table), leaves(wide), strict=True):
        np.testing.assert_array_equal(a, b)
    old = generate(jax.random.PRNGKey(3), 50)
    np.testing.assert_array_equal(table.label, old.label)


@both
def test_a_generated_table_goes_all_the_way(schema, generate):
    table = generate(jax.random.key(0), 300)
    train, test = random_split(jax.random.key(1), table, [200, 100])
    encoder = fit_encoder(schema, train)
    x, test_x = encode(encoder, train), encode(encoder, test)
    assert np.isfinite(x).all()
    assert np.isfinite(test_x).all()
    assert x.shape[1] == test_x.shape[1] == len(encoder.feature_names)


@both
def test_no_rows_are_refused(schema, generate):
    with pytest.raises(ValueError, match=r"n=0 must be at least 1"):
        generate(jax.random.key(0), 0)


def test_titanic_lacks_values_at_random():
    table = generate_titanic(jax.random.key(0), 20_000)
    no_age = np.isnan(table.numeric["Age"])
    no_port = table.categorical["Embarked"] == ""
    # Four standard deviations of the share.
    np.testing.assert_allclose(no_age.mean(), 0.2, atol=0.0113)
    np.testing.assert_allclose(no_port.mean(), 0.005, atol=0.002)
    survival = [table.label[no_age].mean(), table.label[~no_age].mean()]
    np.testing.assert_allclose(*survival, atol=0.035)
    assert np.isfinite(table.numeric["Fare"]).all()


def test_titanic_values_are_those_of_a_passenger_list():
    table = generate_titanic(jax.random.key(1), 20_000)
    age = table.numeric["Age"][~np.isnan(table.numeric["Age"])]
    assert (age == age.round()).all()
    assert (age.min(), age.max()) == (1, 80)
    np.testing.assert_allclose(age.mean(), 30, atol=0.6)
    assert set(table.categorical["Sex"]) == {"female", "male"}
    assert set(table.categorical["Pclass"]) == set("123")
    assert set(table.categorical["Embarked"]) == set("CQS") | {""}
    for pclass, median in (("1", 60), ("2", 15), ("3", 10)):
        fare = table.numeric["Fare"][table.categorical["Pclass"] == pclass]
        np.testing.assert_allclose(np.median(fare), median, rtol=0.05)
        np.testing.assert_allclose(np.log(fare).std(), 0.5, rtol=0.05)
    for name, mean in (("SibSp", 0.5), ("Parch", 0.4)):
        np.testing.assert_allclose(table.numeric[name].mean(), mean, atol=0.03)


def test_titanic_shares():
    table = generate_titanic(jax.random.key(2), 20_000)
    for column, shares in {
        "Sex": {"female": 1 / 3, "male": 2 / 3},
        "Pclass": {"1": 0.24, "2": 0.21, "3": 0.55},
        "Embarked": {"C": 0.2, "Q": 0.1, "S": 0.7},
    }.items():
        for value, share in shares.items():
            found = (table.categorical[column] == value).mean()
            np.testing.assert_allclose(found, share, atol=0.015)


def test_titanics_model_can_be_learned_back():
    table = generate_titanic(jax.random.key(5), 50_000)
    known = ~np.isnan(table.numeric["Age"])
    female = table.categorical["Sex"] == "female"
    pclass = table.categorical["Pclass"].astype(int)
    age = table.numeric["Age"]
    x = np.stack([female, pclass - 2, (age - 30) / 10], axis=1)[known]
    model = LogisticRegression(C=1e9).fit(x, table.label[known])
    np.testing.assert_allclose(model.coef_[0], [2.5, -1, -0.3], atol=0.08)
    np.testing.assert_allclose(model.intercept_, [-1], atol=0.08)
    log_odds = titanic_log_odds(female, pclass, age)[known]
    np.testing.assert_allclose(model.decision_function(x), log_odds, atol=0.3)


def test_the_titanic_text_states_what_is_measured():
    table = generate_titanic(jax.random.key(0), 100_000)
    np.testing.assert_allclose(table.label.mean(), 0.41, atol=0.01)
    known = ~np.isnan(table.numeric["Age"])
    log_odds = titanic_log_odds(
        table.categorical["Sex"] == "female",
        table.categorical["Pclass"].astype(int),
        table.numeric["Age"],
    )
    right = (log_odds > 0) == table.label
    np.testing.assert_allclose(right[known].mean(), 0.760, atol=0.005)


def test_otto_counts_follow_their_means():
    table = generate_otto(jax.random.key(0), 30_000)
    x = np.stack(list(table.numeric.values()), axis=1)
    assert (x == x.round()).all()
    assert x.min() == 0
    shares = np.bincount(table.label, minlength=9) / 30_000
    np.testing.assert_allclose(shares, OTTO_CLASS_PROBABILITIES, atol=0.01)
    for k, means in enumerate(otto_means()):
        own = x[table.label == k]
        # Five standard deviations of a Poisson mean.
        bound = 5 / np.sqrt(len(own))
        np.testing.assert_allclose(own.mean(axis=0), means, atol=bound)
        np.testing.assert_allclose(own.var(axis=0).mean(), means.mean(), rtol=0.05)


def test_ottos_best_prediction_is_a_softmax_regression():
    table = generate_otto(jax.random.key(0), 61_878)
    x = np.stack(list(table.numeric.values()), axis=1)
    means = otto_means()
    assert means.shape == (9, 93)
    logits = x @ np.log(means).T + np.log(OTTO_CLASS_PROBABILITIES) - means.sum(axis=1)
    accuracy = (logits.argmax(axis=1) == table.label).mean()
    np.testing.assert_allclose(accuracy, 0.708, atol=0.005)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # Calibrated: the probability of the class predicted is how often it is right.
    np.testing.assert_allclose(probs.max(axis=1).mean(), accuracy, atol=0.01)


def test_the_files_of_kaggle_have_the_same_columns(raw_dir):
    real = read_table(raw_dir / "titanic_train.csv.gz", TITANIC, labelled=True)
    generated = generate_titanic(jax.random.key(0), 891)
    assert jax.tree.structure(real) == jax.tree.structure(generated)
    for a, b in zip(leaves(real), leaves(generated), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)

"""Generated stand-ins for two Kaggle tables, which cannot be bundled.

No passenger and no product in them is real. They have the columns of Kaggle's Titanic
and Otto tables and are drawn from models that are written down here, so that what is
learned can be compared with them. `read_table` reads Kaggle's own files.
"""

import jax
import numpy as np
from jaxtyping import Bool, Float64, Int, PRNGKeyArray

from jaxdl.data.tables import OTTO, Table

OTTO_CLASS_PROBABILITIES = (0.05, 0.25, 0.15, 0.05, 0.05, 0.2, 0.05, 0.1, 0.1)


def generate_titanic(key: PRNGKeyArray, n: int) -> Table:
    """n passengers who never lived, as `read_table` would read them from Kaggle's file.

    A third are women; the classes hold 24, 21 and 55 %. Ages are normal, 30 ± 14 years,
    clipped to 1..80 and rounded; fares log-normal, with medians of 60, 15 and 10 in the
    three classes; SibSp and Parch Poisson with means 0.5 and 0.4. Survival is drawn by
    `titanic_log_odds`, in which only sex, class and age play a part. An age is then
    missing with probability 0.2 and a port with 0.005, whoever the passenger is. There
    are no names, tickets or cabins, which the schema ignores.

    Of 100,000, 41 % survive; where the age is known, the model itself is right about
    76.0 % of them.

    Raises:
        ValueError: n is below 1.

    >>> train = generate_titanic(jax.random.key(0), 891)
    >>> sorted(train.numeric), len(train.label)
    (['Age', 'Fare', 'Parch', 'SibSp'], 891)
    """
    rng = _generator(key, n)
    female = rng.random(n) < 1 / 3
    pclass = rng.choice([1, 2, 3], n, p=[0.24, 0.21, 0.55])
    age = rng.normal(30, 14, n).clip(1, 80).round()
    log_odds = titanic_log_odds(female, pclass, age)
    survived = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    median_fare = np.array([60, 15, 10])[pclass - 1]
    port = rng.choice(["C", "Q", "S"], n, p=[0.2, 0.1, 0.7])
    return Table(
        numeric={
            "Age": np.where(rng.random(n) < 0.2, np.nan, age),
            "SibSp": rng.poisson(0.5, n).astype(np.float64),
            "Parch": rng.poisson(0.4, n).astype(np.float64),
            "Fare": (median_fare * rng.lognormal(0, 0.5, n)).round(4),
        },
        categorical={
            "Pclass": pclass.astype(str).astype(object),
            "Sex": np.where(female, "female", "male").astype(object),
            "Embarked": np.where(rng.random(n) < 0.005, "", port).astype(object),
        },
        label=survived.astype(np.int32),
        id=_ids(n),
    )


def titanic_log_odds(
    female: Bool[np.ndarray, " n"],
    pclass: Int[np.ndarray, " n"],
    age: Float64[np.ndarray, " n"],
) -> Float64[np.ndarray, " n"]:
    """log(p / (1 - p)) of the probability p that a generated passenger survives."""
    return -1 + 2.5 * female - 1.0 * (pclass - 2) - 0.03 * (age - 30)


def generate_otto(key: PRNGKeyArray, n: int) -> Table:
    """n products never sold, as `read_table` would read them from Kaggle's file.

    The classes have the probabilities OTTO_CLASS_PROBABILITIES, and each count is drawn
    from the Poisson distribution with the mean that `otto_means` has for its class and
    feature. Of such counts the best prediction, Bayes' rule, is a softmax regression:
    weights log(means), biases log(class probability) - sum of the class's means. It is
    right about 70.8 % of 61,878 products; the largest class has a quarter of them.

    Raises:
        ValueError: n is below 1.

    >>> len(generate_otto(jax.random.key(0), 10).numeric)
    93
    """
    rng = _generator(key, n)
    label = rng.choice(9, n, p=OTTO_CLASS_PROBABILITIES)
    counts = rng.poisson(otto_means()[label]).astype(np.float64)
    return Table(
        numeric=dict(zip(OTTO.numeric, counts.T.copy(), strict=True)),
        categorical={},
        label=label.astype(np.int32),
        id=_ids(n),
    )


def otto_means() -> Float64[np.ndarray, "9 93"]:
    """The mean count of each feature in each class of the generated products.

    Every ninth feature, from the class's own number on, has the mean 1, the rest 0.5.
    """
    own = np.arange(93) % 9 == np.arange(9)[:, None]
    return np.where(own, 1.0, 0.5)


def _generator(key: PRNGKeyArray, n: int) -> np.random.Generator:
    """NumPy's, seeded by the key alone: neither device nor precision changes a draw."""
    if n < 1:
        raise ValueError(f"n={n} must be at least 1")
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def _ids(n: int) -> np.ndarray:
    return np.array([str(i) for i in range(1, n + 1)], object)

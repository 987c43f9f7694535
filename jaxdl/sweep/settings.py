"""Points to try: a value for each of them, by the names of the hyperparameters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxdl.training import check_names

Points = dict[str, np.ndarray]
Distribution = Callable[[PRNGKeyArray, tuple[int, ...]], Array]


def grid(**values: Any) -> Points:
    """Returns every combination of the values, of which the last name varies fastest.

    Values are numbers, words, or what `static` may name: tuples, functions, None.

    Raises:
      ValueError: a name has no values, or an array of them more than one axis.

    >>> grid(learning_rate=[0.1, 1.0], momentum=[0.0, 0.9])["momentum"]
    array([0. , 0.9, 0. , 0.9])
    """
    arrays = _arrays(values)
    rows = np.meshgrid(*(np.arange(a.size) for a in arrays.values()), indexing="ij")
    return {
        name: np.atleast_1d(array)[each.ravel()]
        for (name, array), each in zip(arrays.items(), rows, strict=True)
    }


def random_search(
    key: PRNGKeyArray, n: int, **distributions: Distribution | float
) -> Points:
    """Returns `n` points, each of their values drawn from its name's distribution.

    A distribution maps a key and a shape to as many draws: `log_uniform(1e-4, 1.0)`,
    `uniform(0.0, 0.5)`, or another of the form of `jax.random`'s. A number is that of
    all points.

    Raises:
      ValueError: `n` is below 1.

    >>> points = random_search(jax.random.key(0), 9, rate=log_uniform(1e-4, 1.0))
    >>> points["rate"].shape, bool((points["rate"] < 0.01).any())
    ((9,), True)
    """
    if n < 1:
        raise ValueError(f"n={n} is below 1")
    keys = iter(jax.random.split(key, max(1, len(distributions))))
    return {
        name: np.asarray(draw(next(keys), (n,))) if callable(draw) else np.full(n, draw)
        for name, draw in distributions.items()
    }


def uniform(low: float, high: float) -> Distribution:
    """Returns the uniform distribution over [low, high).

    Raises:
      ValueError: `low` is not below `high`.
    """
    if not low < high:
        raise ValueError(f"low={low} is not below high={high}")
    return lambda key, shape: jax.random.uniform(key, shape, minval=low, maxval=high)


def log_uniform(low: float, high: float) -> Distribution:
    """Returns the distribution over [low, high) whose logarithm is uniform.

    Raises:
      ValueError: 0 < low < high does not hold.
    """
    if not 0 < low < high:
        raise ValueError(f"low={low}, high={high}: 0 < low < high does not hold")
    exponent = uniform(float(np.log(low)), float(np.log(high)))
    return lambda key, shape: jnp.exp(exponent(key, shape))


def as_points(settings: Mapping[str, Any]) -> tuple[Points, int]:
    """Returns every setting as an array over points, and how many points there are.

    A single value is that of all points; no settings at all make one point.

    Raises:
      ValueError: settings differ in length, have none, or more than one axis.
    """
    arrays = _arrays(settings)
    lengths = {name: len(values) for name, values in arrays.items() if values.ndim}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"settings have different lengths: {lengths}")
    n = next(iter(lengths.values()), 1)
    return {name: np.broadcast_to(v, (n,)) for name, v in arrays.items()}, n


def by_static(
    points: Points, n: int, static: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Points, np.ndarray]]:
    """Yields the points that agree in their static settings: a program for each.

    They come as these settings, as Python values, the other settings of the points, and
    which of the `n` points they are.

    Raises:
      ValueError: a static setting does not exist, or another one holds no numbers, or
        numbers that JAX's types cannot hold.
    """
    check_names("static", static)
    for name in static:
        if name not in points:
            raise ValueError(f"static={name!r} is not among the settings: {[*points]}")
    traced = {name: values for name, values in points.items() if name not in static}
    for name, values in traced.items():
        if not (jnp.issubdtype(values.dtype, np.number) or values.dtype == bool):
            raise ValueError(
                f"{name}={value_at(values, 0)!r} is no number: name it in `static`, and"
                " it stays a Python value"
            )
        traced[name] = _canonical(name, values)
    groups: dict[tuple, list[int]] = {}
    for i in range(n):
        choice = tuple(value_at(points[name], i) for name in static)
        try:
            groups.setdefault(choice, []).append(i)
        except TypeError as error:
            settings = dict(zip(static, choice, strict=True))
            reason = f"static settings {settings}: {error}; a tuple would do"
            raise ValueError(reason) from error
    for choice, rows in groups.items():
        part = {name: values[rows] for name, values in traced.items()}
        yield dict(zip(static, choice, strict=True)), part, np.array(rows)


def _canonical(name: str, values: np.ndarray) -> np.ndarray:
    """Returns numbers in JAX's type, 32 bits by default, which may only round them."""
    dtype = jax.dtypes.canonicalize_dtype(values.dtype)
    with np.errstate(over="ignore", under="ignore"):
        held = values.astype(dtype)
    if np.issubdtype(dtype, np.integer):
        lost = held != values
    else:
        lost = ((held == 0) & (values != 0)) | (np.isinf(held) & ~np.isinf(values))
    if lost.any():
        raise ValueError(
            f"{name}={value_at(values, int(lost.argmax()))!r} does not fit {dtype}:"
            " name it in `static`, and it stays a Python value"
        )
    return held


def value_at(values: np.ndarray, point: int) -> Any:
    """Returns a point's value as Python has it."""
    return values[point : point + 1].tolist()[0]


def _arrays(settings: Mapping[str, Any]) -> Points:
    arrays = {name: _array(values) for name, values in settings.items()}
    for name, values in arrays.items():
        if values.ndim > 1 or values.size == 0:
            raise ValueError(f"{name} has shape {values.shape}: no values for points")
    return arrays


def _array(values: Any) -> np.ndarray:
    """Makes an array of values; of objects where they are not all numbers or words."""
    if not isinstance(values, list | tuple):
        return np.asarray(values)
    words = sum(isinstance(value, str) for value in values)
    numbers = sum(
        isinstance(value, int | float | np.generic | jax.Array) and np.ndim(value) == 0
        for value in values
    )
    if len(values) in (words, numbers):
        return np.asarray(values)
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # one by one: NumPy would take tuples apart
        array[i] = value
    return array

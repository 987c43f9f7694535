"""Random splits and folds of a data set."""

import math
from collections.abc import Sequence
from numbers import Integral
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

Labels = Shaped[Array | np.ndarray, " n"]


class Folds(NamedTuple):
    """The rows of a data set that each fold trains and is measured on.

    A row that equals the number of examples stands for none: mask it out.
    """

    train: Int[Array, "k most"]
    validation: Int[Array, "k rest"]


def random_split(
    key: PRNGKeyArray,
    data: Any,
    lengths: Sequence[int | float],
    *,
    stratify: Labels | None = None,
) -> tuple[Any, ...]:
    """Disjoint random parts of `data` that together hold every example once.

    Like `torch.utils.data.random_split`, but returns arrays and draws from `key` alone.
    Examples lie along the leading axis, which the leaves of `data` share. NumPy leaves
    stay NumPy arrays, JAX leaves JAX arrays.

    Args:
        lengths: integers that sum to the number of examples n, or fractions that sum
            to 1. A fraction f gets ⌊n f⌋ examples, and those left over go one each to
            the first parts. Unlike PyTorch, `[1]` is one example, `[1.0]` all of them.
        stratify: a label for each example. Each of two parts then has its share of
            every label, less than one example more or fewer; of three, than two.

    Raises:
        ValueError: lengths or labels do not fit the data, a fraction above 0 gets no
            example, or leaves differ in length.

    >>> train, val = random_split(jax.random.key(0), {"x": np.arange(10)}, [0.8, 0.2])
    >>> len(train["x"]), len(val["x"])
    (8, 2)
    """
    num_examples = count_examples(data)
    counts = _counts(lengths, num_examples)
    order = jax.random.permutation(key, num_examples)
    if stratify is None:
        parts = jnp.split(order, np.cumsum(counts)[:-1])
    else:
        parts = _spread(_sorted_by(stratify, order, num_examples), counts)
    return tuple(jax.tree.map(itemgetter(part), data) for part in parts)


def k_folds(
    key: PRNGKeyArray,
    num_examples: int,
    k: int,
    *,
    masked: bool = False,
    stratify: Labels | None = None,
) -> Folds:
    """Rows for k-fold cross-validation: each example is held out in one fold.

    All folds have one shape, as a program that trains them together wants it. For that
    the `num_examples` % k last drawn belong to no fold; `masked` keeps them and fills
    the shorter folds up with the row `num_examples`, which stands for no example.
    `stratify` is a label for each example; folds then have as many of each, or one
    more.

    Raises:
        ValueError: `k` is not within 2..num_examples, or labels do not fit.

    >>> folds = k_folds(jax.random.key(0), 7, 3)
    >>> folds.train.shape, folds.validation.shape
    ((3, 4), (3, 2))
    >>> (k_folds(jax.random.key(0), 7, 3, masked=True).validation == 7).sum(axis=1)
    Array([0, 1, 1], dtype=int32)
    """
    if not 2 <= k <= num_examples:
        raise ValueError(f"k={k} is not within 2..{num_examples}, the examples given")
    order = np.asarray(jax.random.permutation(key, num_examples))
    if not masked:
        order = order[: num_examples - num_examples % k]
    if stratify is not None:
        order = _sorted_by(stratify, order, num_examples)
    fold = np.arange(len(order)) % k  # dealt like cards
    train, validation = (
        [np.flatnonzero(belongs) for belongs in which]
        for which in (fold != np.arange(k)[:, None], fold == np.arange(k)[:, None])
    )
    rows = np.append(order, num_examples)
    return Folds(
        *(jnp.asarray(rows[_stack(part, len(order))]) for part in (train, validation))
    )


def _sorted_by(labels: Labels, order, num_examples: int):
    """Puts the rows of each label together; within a label they stay as drawn."""
    if np.shape(labels) != (num_examples,):
        raise ValueError(
            f"stratify has shape {np.shape(labels)}; expected a label for each of the"
            f" {num_examples} examples"
        )
    order = np.asarray(order)
    return order[np.argsort(np.asarray(labels)[order], stable=True)]


def _spread(order, counts: Sequence[int]) -> list[Any]:
    """Takes each part's rows at equal distances out of those that are left.

    Of a stretch of m rows out of n a part of c then gets m c / n, rounded up or down.
    """
    parts = []
    for count in counts:
        taken = np.floor((np.arange(count) + 0.5) * len(order) / max(count, 1))
        taken = taken.astype(int)
        parts.append(order[taken])
        order = np.delete(order, taken)
    return parts


def _stack(parts: list[np.ndarray], missing: int) -> np.ndarray:
    """Makes one array of parts that differ by one in length."""
    longest = max(map(len, parts))
    pad = lambda part: np.pad(part, (0, longest - len(part)), constant_values=missing)
    return np.stack(list(map(pad, parts)))


def count_examples(data: Any) -> int:
    """Returns the length of the leading axis that all arrays of `data` share.

    Raises ValueError where there is none, or it is another for some.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(data)]
    if not shapes or () in shapes:
        raise ValueError(f"data of leaf shapes {shapes} has no leading axis to split")
    sizes = sorted({shape[0] for shape in shapes})
    if len(sizes) > 1:
        raise ValueError(f"data has leaves of different lengths: {sizes}")
    return sizes[0]


def _counts(lengths: Sequence[int | float], num_examples: int) -> list[int]:
    if not len(lengths) or min(lengths) < 0:
        raise ValueError(f"lengths={lengths} must be one or more numbers of at least 0")
    if all(isinstance(length, Integral) for length in lengths):
        if sum(lengths) != num_examples:
            raise ValueError(
                f"lengths={lengths} sum to {sum(lengths)}, not to the {num_examples} "
                "examples given"
            )
        return [int(length) for length in lengths]
    if not math.isclose(sum(lengths), 1):
        raise ValueError(f"fractions lengths={lengths} sum to {sum(lengths)}, not to 1")
    counts = [math.floor(num_examples * length) for length in lengths]
    for i in range(num_examples - sum(counts)):
        counts[i % len(counts)] += 1
    for length, count in zip(lengths, counts, strict=True):
        if length > 0 and not count:
            raise ValueError(
                f"the fraction {length:g} of lengths={lengths} gets none of the"
                f" {num_examples} examples given"
            )
    return counts

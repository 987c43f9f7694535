"""Random splits of a data set."""

import math
from collections.abc import Sequence
from numbers import Integral
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray


def random_split(
    key: PRNGKeyArray, data: Any, lengths: Sequence[int | float]
) -> tuple[Any, ...]:
    """Disjoint random parts of `data` that together hold every example once.

    Like `torch.utils.data.random_split`, but returns arrays and draws from `key` alone.
    Examples lie along the leading axis, which the leaves of `data` share. NumPy leaves
    stay NumPy arrays, JAX leaves JAX arrays.

    Args:
        lengths: integers that sum to the number of examples n, or fractions that sum
            to 1. A fraction f gets ⌊n f⌋ examples, and those left over go one each to
            the first parts. Unlike PyTorch, `[1]` is one example, `[1.0]` all of them.

    Raises:
        ValueError: lengths do not fit the data, or leaves differ in length.

    >>> train, val = random_split(jax.random.key(0), {"x": np.arange(10)}, [0.8, 0.2])
    >>> len(train["x"]), len(val["x"])
    (8, 2)
    """
    num_examples = _num_examples(data)
    counts = _counts(lengths, num_examples)
    order = jax.random.permutation(key, num_examples)
    ends = np.cumsum(counts)
    parts = [order[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return tuple(jax.tree.map(itemgetter(part), data) for part in parts)


def _num_examples(data: Any) -> int:
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
    return counts

"""Dropout with PyTorch's semantics and an explicit key."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdl.functional.checks import Number, check_floating, check_share, is_traced


def dropout(
    input: Float[Array, "*shape"],
    p: Number = 0.5,
    *,
    train: bool,
    key: PRNGKeyArray | None,
) -> Float[Array, "*shape"]:
    """Zeroes each element with probability `p` and divides the others by 1 - p.

    The expectation is then that of `input`, which evaluation returns as it is. What is
    dropped depends on `key` and the shape only; without `train`, or with p=0, `key` is
    not used and may be None. As in PyTorch the mask multiplies: a dropped infinity is
    NaN. Srivastava et al. ("Dropout", 2014) scale when they evaluate instead.

    Raises:
      ValueError: `p` lies outside of [0, 1], `input` is not floating, or there is no
        key where one is needed. A traced p, as in a sweep, can only be looked at by the
        program: outside of [0, 1] it gives NaN in training.

    >>> dropout(jnp.ones(6), 0.5, train=True, key=jax.random.key(1))
    Array([2., 0., 2., 2., 0., 0.], dtype=float32)
    """
    p = check_share("p", p)
    check_floating(input=input)
    if not (train and drops(p)):
        return input
    if key is None:
        raise ValueError(f"dropout with train=True and p={p} needs a key")
    kept = jax.random.bernoulli(key, jnp.asarray(1 - p, float), input.shape)
    scale = _scale(p)
    return input * jnp.where(kept, scale, 0 * scale).astype(input.dtype)


def _scale(p):
    if is_traced(p):
        return jnp.where(p == 1, 0, 1 / jnp.where(p == 1, 1, 1 - p))
    return 1 / (1 - p) if p < 1 else 0.0


def drops(p: Number) -> bool:
    """Whether dropout of probability `p` may drop: it is not known to be 0."""
    return is_traced(p) or bool(np.any(np.asarray(p) > 0))

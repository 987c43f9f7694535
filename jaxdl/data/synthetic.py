"""Data made from a known model, so that what is learned can be compared with it."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


def make_linear_data(
    key: PRNGKeyArray,
    weights: Sequence[int | float] | Float[Array | np.ndarray, " features"],
    bias: int | float | Float[Array | np.ndarray, ""],
    num_examples: int,
    noise: int | float = 0.01,
) -> dict[str, Float[Array, "..."]]:
    """Draws x from N(0, I) and y = x · weights + bias + ε with ε from N(0, noise²).

    Returns "x" of shape (num_examples, features) and "y" of shape (num_examples,).

    Raises:
        ValueError: `num_examples` is below 1 or `noise` below 0, `weights` no vector
            or `bias` no single number.

    >>> data = make_linear_data(jax.random.key(0), [-6, 3.2, 10.5], 1.7, 1000)
    >>> data["x"].shape, data["y"].shape
    ((1000, 3), (1000,))
    """
    if num_examples < 1:
        raise ValueError(f"num_examples={num_examples} must be at least 1")
    if not noise >= 0:
        raise ValueError(f"noise={noise}, a standard deviation, must be at least 0")
    w = jnp.asarray(weights, dtype=float)
    if w.ndim != 1 or jnp.ndim(bias) != 0:
        raise ValueError(
            f"weights of shape {w.shape} and bias of shape {jnp.shape(bias)} must be a "
            "vector and a single number"
        )
    return _draw(key, w, bias, num_examples, noise)


# Compiled as one: operation by operation takes twice as long at the first call.
@partial(jax.jit, static_argnums=3)
def _draw(key, w, bias, num_examples: int, noise):
    x_key, noise_key = jax.random.split(key)
    x = jax.random.normal(x_key, (num_examples, w.size), w.dtype)
    epsilon = noise * jax.random.normal(noise_key, (num_examples,), w.dtype)
    return {"x": x, "y": x @ w + bias + epsilon}

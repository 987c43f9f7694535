"""How models flatten what they are given."""

import math

from jaxtyping import Array, Float


def flatten(x: Float[Array, "batch *sizes"]) -> Float[Array, "batch features"]:
    """Makes one row of each example, channels last: torch.nn.Flatten.

    PyTorch has the channels first, so that the layer after it, carried over, needs
    `flattened` of `jaxdl.torch_weights`.

    >>> import jax.numpy as jnp
    >>> flatten(jnp.zeros((2, 28, 28, 1))).shape
    (2, 784)
    """
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))

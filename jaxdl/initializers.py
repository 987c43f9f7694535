"""PyTorch's initialisations as functions (key, shape, dtype) -> array.

Where `jax.nn.initializers` has the same distribution, use it: `normal`, `zeros`,
`constant`. Kernels are (..., in, out): the fan-in is the product of all but the last.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

Initializer = Callable[..., Array]


def fan_in_uniform(fan_in: int | None = None) -> Initializer:
    """Draws from U(-1/√fan_in, 1/√fan_in): PyTorch's default for Linear and Conv.

    PyTorch writes it as `kaiming_uniform_(a=√5)` for weights. A bias is drawn from the
    same interval as its layer's weights, so its `fan_in` has to be given.

    >>> kernel = fan_in_uniform()(jax.random.key(0), (100, 3))
    >>> bool(abs(kernel).max() <= 0.1)
    True
    """

    def init(
        key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        fan = math.prod(shape[:-1]) if fan_in is None else fan_in
        bound = 1 / math.sqrt(fan) if fan else 0.0
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init

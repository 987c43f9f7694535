"""What operations check of the arrays they are given."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Bool, Integer, Num


def check_floating(**arrays: Array | None) -> None:
    """Raises ValueError for an array that does not hold floating-point numbers."""
    for name, array in arrays.items():
        if array is not None and not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has dtype {array.dtype}; expected a floating one")


def widened(
    indices: Integer[Array | np.ndarray, "..."],
) -> Integer[Array | np.ndarray, "..."]:
    """Returns them in 32 bits or more: smaller ones wrap what they are compared to."""
    return indices.astype(jnp.promote_types(indices.dtype, jnp.int32))


def check_indices(
    name: str,
    indices: Integer[Array | np.ndarray, "..."],
    size: int,
    ignore_index: int | None = None,
) -> None:
    """Checks that each index lies within 0..size-1, or is `ignore_index`.

    Raises as `check_values`.
    """
    is_traced = isinstance(indices, jax.core.Tracer)
    indices = widened(indices) if is_traced else np.asarray(indices)
    within = (indices >= 0) & (indices < size)
    if ignore_index is not None:
        within |= indices == ignore_index
    check_values(name, indices, within, f"0..{size - 1}")


def check_values(
    name: str,
    values: Num[Array | np.ndarray, "*shape"],
    within: Bool[Array | np.ndarray, "*shape"] | np.bool_,
    limits: str,
) -> None:
    """Raises ValueError for the first of `values` that is not `within` its limits.

    Values cannot be looked at inside `jit`, `vmap` or `grad`; there this is a
    `checkify.debug_check`, which costs nothing unless `checkify.checkify` is applied to
    the function, and then reports the same.
    """
    if not values.size:
        return
    if isinstance(within, jax.core.Tracer):
        first = values.ravel()[jnp.argmin(within)]
        message = name + " {value} lies outside of " + limits
        checkify.debug_check(jnp.all(within), message, value=first)
    elif not within.all():
        where = tuple(int(i) for i in np.argwhere(~within)[0])
        raise ValueError(f"{name} {values[where]} at {where} lies outside of {limits}")

"""What operations check of the values they are given."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Integer


def check_indices(
    name: str,
    indices: Integer[Array, "..."],
    size: int,
    ignore_index: int | None = None,
) -> None:
    """Raises ValueError for an index outside of 0..size-1 that is not `ignore_index`.

    Values cannot be looked at inside `jit`, `vmap` or `grad`; there this is a
    `checkify.debug_check`, which costs nothing unless `checkify.checkify` is applied to
    the function, and then reports the same.
    """
    if isinstance(indices, jax.core.Tracer):
        _check_traced(name, indices, size, ignore_index)
        return
    values = np.asarray(indices)
    wrong = ~_within(values, size, ignore_index)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{name} {values[where]} at {where} lies outside of 0..{size - 1}"
        )


def _check_traced(name: str, indices, size: int, ignore_index: int | None) -> None:
    if not indices.size:
        return
    # Compared as they are, small integers would wrap `size` and `ignore_index`.
    wide = indices.astype(jnp.promote_types(indices.dtype, jnp.int32))
    within = _within(wide, size, ignore_index)
    first = wide.ravel()[jnp.argmin(within)]
    message = name + " {index} lies outside of 0.." + str(size - 1)
    checkify.debug_check(jnp.all(within), message, index=first)


def _within(values, size: int, ignore_index: int | None):
    within = (values >= 0) & (values < size)
    return within if ignore_index is None else within | (values == ignore_index)

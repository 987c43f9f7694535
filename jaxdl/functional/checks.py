"""What operations check of the arrays they are given."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Integer, Num

try:  # JAX has no public way to let checkify look into a primitive
    from jax._src.checkify import checkify_jaxpr, error_checks
except ImportError:  # there it sees no checks of this package
    error_checks = {}


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
    indices: Integer[Array | np.ndarray, "*shape"],
    size: int,
    ignore_index: int | None = None,
) -> Bool[Array | np.ndarray, "*shape"] | np.bool_:
    """Returns whether each index lies within 0..size-1, or is `ignore_index`.

    Raises as `check_values`.
    """
    is_traced = isinstance(indices, jax.core.Tracer)
    indices = widened(indices) if is_traced else np.asarray(indices)
    within = (indices >= 0) & (indices < size)
    if ignore_index is not None:
        within |= indices == ignore_index
    return check_values(name, indices, within, f"0..{size - 1}")


def check_values(
    name: str,
    values: Num[Array | np.ndarray, "*shape"],
    within: Bool[Array | np.ndarray, "*shape"] | np.bool_,
    limits: str,
) -> Bool[Array | np.ndarray, "*shape"] | np.bool_:
    """Raises ValueError for the first of `values` that is not `within` its limits.

    Values cannot be looked at inside `jit`, `vmap` or `grad`. There the `within` that
    is returned has to be used: it costs nothing, and `checkify.checkify`, if it is
    applied to the function, reports the same; where checks of the function's own fail
    as well, it reports one of those.
    """
    if not values.size:
        return within
    if isinstance(within, jax.core.Tracer):
        message = name + " {value} lies outside of " + limits
        return _checked.bind(within, values, message=message)
    if not within.all():
        where = tuple(int(i) for i in np.argwhere(~within)[0])
        raise ValueError(f"{name} {values[where]} at {where} lies outside of {limits}")
    return within


# `within`, unchanged. A `checkify.debug_check` by itself is an effect, and whatever has
# one is called by JAX's slow path: 0.4 ms for each call of a compiled step.
_checked = Primitive("checked")
_checked.def_impl(lambda within, values, message: within)
_checked.def_abstract_eval(lambda within, values, message: within)
mlir.register_lowering(_checked, lambda context, within, values, message: [within])


def _jvp(primals, tangents, message):
    within = _checked.bind(*primals, message=message)
    return within, ad.Zero(jax.typeof(within).to_tangent_aval())


def _batch(arrays, axes, message):
    pairs = list(zip(arrays, axes, strict=True))
    size = next(array.shape[axis] for array, axis in pairs if axis is not None)
    stacked = [
        jnp.broadcast_to(array, (size, *array.shape))
        if axis is None
        else jnp.moveaxis(array, axis, 0)
        for array, axis in pairs
    ]
    return _checked.bind(*stacked, message=message), 0


def _report(error, enabled_errors, within, values, message):
    """Checks as `checkify.debug_check` does, where `checkify` is at work."""
    jaxpr = jax.make_jaxpr(partial(_debug_check, message))(within, values)
    enabled_errors &= checkify.user_checks  # the search for the first is no subject
    error, _ = checkify_jaxpr(jaxpr, enabled_errors, error, within, values)
    return error, within


def _debug_check(message, within, values):
    first = values.ravel()[jnp.argmin(within)]
    checkify.debug_check(jnp.all(within), message, value=first)


ad.primitive_jvps[_checked] = _jvp
batching.primitive_batchers[_checked] = _batch
error_checks[_checked] = _report

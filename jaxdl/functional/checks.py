"""What operations check of the arrays they are given."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float, Integer, Num

Number = float | int | np.floating | Float[Array | np.ndarray, ""]
"""a number that a user chooses, or one that is traced, as in a sweep"""

try:  # JAX has no public way to let checkify look into a primitive
    from jax._src import checkify
except ImportError:  # there it sees no checks of this package
    checkify = None  # type: ignore[assignment]
error_checks = getattr(checkify, "error_checks", {})
next_code = getattr(checkify, "next_code", None)  # JAX before 0.11 has one


def expect_array(name: str, value: Any) -> None:
    """Raises ValueError for a list or number where an array is expected."""
    if not hasattr(value, "dtype"):
        kind = type(value).__name__
        raise ValueError(f"{name} is a {kind}: expected an array of NumPy or JAX")


def check_floating(**arrays: Array | None) -> None:
    """Raises ValueError for what is no array of floating-point numbers; None passes."""
    for name, array in arrays.items():
        if array is None:
            continue
        expect_array(name, array)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has dtype {array.dtype}; expected a floating one")


def widened(
    indices: Integer[Array | np.ndarray, "..."],
) -> Integer[Array | np.ndarray, "..."]:
    """Returns them in 32 bits or more: smaller ones wrap what they are compared to."""
    return indices.astype(jnp.promote_types(indices.dtype, jnp.int32))


def at_least_float32(array: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns it in 32 bits or more: half precision neither adds up nor counts much."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_indices(
    name: str,
    indices: Integer[Array | np.ndarray, "*shape"],
    size: int,
    ignore_index: int | None = None,
) -> Bool[Array | np.ndarray, "*shape"] | np.bool_:
    """Returns whether each index lies within 0..size-1, or is `ignore_index`.

    Raises as `check_values`.
    """
    indices = widened(indices) if is_traced(indices) else np.asarray(indices)
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
    applied to the function, reports the same.
    """
    if not values.size:
        return within
    if is_traced(within):
        message = name + " {value} lies outside of " + limits
        code = next_code() if next_code else 0
        return _checked.bind(within, values, message=message, code=code)
    if not within.all():
        where = tuple(int(i) for i in np.argwhere(~within)[0])
        raise ValueError(f"{name} {values[where]} at {where} lies outside of {limits}")
    return within


def check_setting(
    name: str, value: Number, within: Callable[[Any], Any], limits: str
) -> Number:
    """Returns a number that a user chose, which has to lie within its limits.

    A traced one, as in a sweep, is NaN otherwise, and `checkify` reports it.

    Raises:
      ValueError: `within(value)` is false, or the value is not one number.
    """
    if value is None or isinstance(value, str):
        raise ValueError(f"{name}={value!r} is no number")
    if np.ndim(value):
        raise ValueError(f"{name} has shape {np.shape(value)}: expected one number")
    if isinstance(value, jax.Array) and not is_traced(value):
        value = np.asarray(value)  # inside jit, what is computed of JAX's is traced
    right = within(value)
    if is_traced(right):
        value = jnp.asarray(value)
        return jnp.where(check_values(name, value, right, limits), value, jnp.nan)
    if not right:
        known = lax.stop_gradient(value) if is_traced(value) else value
        raise ValueError(f"{name}={known} is not within {limits}")
    return value


def check_share(name: str, value: Number) -> Number:
    """Returns a number that has to lie within [0, 1], as `check_setting`."""
    return check_setting(name, value, lambda p: (p >= 0) & (p <= 1), "[0, 1]")


def is_traced(value: Any) -> bool:
    """Whether a value is known to the compiled program only, when it runs."""
    return isinstance(value, jax.core.Tracer)


# `within`, unchanged. A `checkify.debug_check` by itself is an effect, and whatever has
# one is called by JAX's slow path: 0.4 ms for each call of a compiled step. Of checks
# that fail together checkify reports the one of the least code: the first traced.
# From JAX 0.11 on checkify counts them where it finds them.
_checked = Primitive("checked")
_checked.def_impl(lambda within, values, **of_check: within)
_checked.def_abstract_eval(lambda within, values, **of_check: within)
mlir.register_lowering(_checked, lambda context, within, values, **of_check: [within])


def _jvp(primals, tangents, **of_check):
    within = _checked.bind(*primals, **of_check)
    return within, ad.Zero(jax.typeof(within).to_tangent_aval())


def _batch(arrays, axes, **of_check):
    pairs = list(zip(arrays, axes, strict=True))
    size = next(array.shape[axis] for array, axis in pairs if axis is not None)
    stacked = [
        jnp.broadcast_to(array, (size, *array.shape))
        if axis is None
        else jnp.moveaxis(array, axis, 0)
        for array, axis in pairs
    ]
    return _checked.bind(*stacked, **of_check), 0


def _report(error, enabled_errors, within, values, message, code):
    """Adds what `checkify.debug_check` would, where `checkify` is at work."""
    if not enabled_errors & checkify.user_checks:
        return error, within
    first = jnp.ravel(values)[jnp.argmin(within)]
    found = checkify.FailedCheckError(checkify.get_traceback(), message, value=first)
    payload, metadata = jax.tree.flatten(found)
    kind, metadata_of = found.get_effect_type(), {int(code): metadata}
    error = checkify.update_error(
        error, ~within.all(), code, metadata_of, payload, kind
    )
    return error, within


def _report_counted(context, error, enabled_errors, within, values, message, code):
    code = np.int32(context.next_code())
    return _report(error, enabled_errors, within, values, message, code)


ad.primitive_jvps[_checked] = _jvp
batching.primitive_batchers[_checked] = _batch
error_checks[_checked] = _report if next_code else _report_counted

"""Lookups by index with PyTorch's semantics."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxdl.functional.checks import (
    at_least_float32,
    check_floating,
    check_indices,
    expect_array,
    is_traced,
    widened,
)


def embedding(
    input: Int[Array, "*batch"],
    weight: Float[Array, "rows features"],
    padding_idx: int | None = None,
) -> Float[Array, "*batch features"]:
    """Looks up rows of `weight` by index: `torch.nn.functional.embedding`.

    The row `padding_idx`, counted from the end if negative, is looked up like any other
    but gets no gradient, so training leaves it as it is.

    Raises:
      ValueError: shapes, dtypes or `padding_idx` do not fit, or an index lies outside
        of 0..rows-1; -1 is not the last row. Indices can only be looked at outside of
        jit; inside, such an index gives a row of NaN.

    >>> embedding(jnp.array([2, 0]), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    Array([[5., 6.],
           [1., 2.]], dtype=float32)
    """
    check_floating(weight=weight)
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {weight.shape}; expected (rows, features)")
    _check_integer("input", input)
    rows = len(weight)
    inside = check_indices("index", input, rows)
    indices = widened(input)
    # In float32 also where it is narrower: there the gradient of a row is added up.
    table = at_least_float32(jnp.asarray(weight))
    # One past the last, where the lookup, which is by 32 bits, would wrap it around.
    looked_up = table.at[jnp.where(inside, indices, rows)].get(
        mode="fill", fill_value=jnp.nan, wrap_negative_indices=False
    )
    looked_up = looked_up.astype(weight.dtype)
    if padding_idx is None:
        return looked_up
    if not -rows <= padding_idx < rows:
        raise ValueError(f"padding_idx={padding_idx} is not within [{-rows}, {rows})")
    padding = (indices == padding_idx % rows)[..., None]
    return jnp.where(padding, lax.stop_gradient(looked_up), looked_up)


def one_hot(
    tensor: Int[Array, "*batch"], num_classes: int = -1
) -> Int[Array, "*batch classes"]:
    """Writes each class index as a vector with a 1 at that position and 0 elsewhere.

    With num_classes=-1 there are as many classes as the largest index says. The result
    has JAX's default integer type, which is PyTorch's int64 under jax_enable_x64 and
    int32 otherwise; `jax.nn.one_hot` gives floats.

    Raises:
      ValueError: `tensor` is not of integers, `num_classes` is neither positive nor -1,
        or -1 where the indices cannot be looked at (inside jit) or there are none; or
        an index lies outside of 0..num_classes-1. Inside jit such an index gives a
        vector of zeros.

    >>> one_hot(jnp.array([0, 2]))
    Array([[1, 0, 0],
           [0, 0, 1]], dtype=int32)
    """
    _check_integer("tensor", tensor)
    if num_classes == -1:
        if is_traced(tensor):
            raise ValueError("num_classes=-1 reads the indices: inside jit, state it")
        if not tensor.size:
            raise ValueError("num_classes=-1 cannot be inferred from no indices")
        num_classes = max(int(tensor.max()) + 1, 1)
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes} is neither positive nor -1")
    within = check_indices("index", tensor, num_classes)
    vectors = jax.nn.one_hot(widened(tensor), num_classes, dtype=int)
    return jnp.where(jnp.asarray(within)[..., None], vectors, 0)


def _check_integer(name: str, indices) -> None:
    expect_array(name, indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"{name} has dtype {indices.dtype}; expected integers")

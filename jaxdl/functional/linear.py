"""The affine map of dense layers."""

from jaxtyping import Array, Float

from jaxdl.functional.checks import check_floating
from jaxdl.functional.products import affine


def linear(
    input: Float[Array, "*batch in"],
    weight: Float[Array, "in out"],
    bias: Float[Array, " out"] | None = None,
) -> Float[Array, "*batch out"]:
    """Computes input · weight + bias; PyTorch's `weight` is the transpose of this one.

    Raises ValueError where shapes or dtypes do not fit together.

    >>> import jax.numpy as jnp
    >>> linear(jnp.array([1.0, 2.0]), jnp.array([[3.0], [4.0]]), jnp.array([0.5]))
    Array([11.5], dtype=float32)
    """
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {weight.shape}; expected (in, out)")
    if not input.ndim or input.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"input has shape {input.shape}; weight of shape {weight.shape} needs"
            f" (..., {weight.shape[0]})"
        )
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ValueError(f"bias has shape {bias.shape}; expected {weight.shape[1:]}")
    check_floating(input=input)
    for name, array in {"weight": weight, "bias": bias}.items():
        if array is not None and array.dtype != input.dtype:
            raise ValueError(
                f"{name} has dtype {array.dtype}, but input has {input.dtype}"
            )
    return affine(input, weight, bias)

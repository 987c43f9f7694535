"""Batch and layer normalisation with PyTorch's semantics, channels last.

Statistics are computed in float32 at least, in two passes: E[x²] - E[x]² leaves
nothing of a variance that is small beside the squared mean.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdl.functional.checks import (
    Number,
    at_least_float32,
    check_floating,
    check_setting,
    check_share,
    is_traced,
)


def batch_norm(
    input: Float[Array, "*batch channels"],
    running_mean: Float[Array, " channels"] | None,
    running_var: Float[Array, " channels"] | None,
    weight: Float[Array, " channels"] | None = None,
    bias: Float[Array, " channels"] | None = None,
    *,
    train: bool,
    momentum: Number = 0.1,
    eps: float = 1e-5,
) -> tuple[
    Float[Array, "*batch channels"],
    tuple[Float[Array, " channels"] | None, Float[Array, " channels"] | None],
]:
    """Computes (x - mean) / √(var + eps) · weight + bias, for each channel by itself.

    Returns the output and the new (running_mean, running_var), through which no
    gradient flows. All axes but the last are averaged over, so that the same function
    serves for (N, C), (N, L, C) and (N, H, W, C). With `train` the mean and variance
    are those of the batch, and running = (1 - momentum) · running + momentum · batch;
    Flax's momentum is 1 minus that. The batch is divided by the root of its biased
    variance; what `running_var` averages is the unbiased one, n/(n-1) times as large,
    which Flax does not do. Without `train` the running statistics are used, or if both
    are None, the batch's (Ioffe and Szegedy, "Batch Normalization", 2015, §3).

    The output has the type of `input`, the running statistics keep theirs.

    Raises:
      ValueError: shapes, dtypes or settings do not fit together, only one of the
        running statistics is None, or the batch's statistics are needed and it has one
        value per channel.

    >>> x = jnp.array([[1.0], [3.0]])
    >>> output, (mean, var) = batch_norm(x, jnp.zeros(1), jnp.ones(1), train=True)
    >>> output[:, 0].round(3)
    Array([-1.,  1.], dtype=float32)
    >>> mean, var
    (Array([0.2], dtype=float32), Array([1.1], dtype=float32))
    """
    momentum, eps = check_share("momentum", momentum), _known("eps", eps)
    _check_batch(input, running_mean, running_var, train, eps)
    _check_parameters(input, weight, bias, input.shape[-1:])
    running_mean, running_var = lax.stop_gradient((running_mean, running_var))
    if not input.size:
        return input, (running_mean, running_var)

    rows = at_least_float32(input).reshape(-1, input.shape[-1])
    scale = jnp.ones_like(rows[0]) if weight is None else weight.astype(rows.dtype)
    shift = jnp.zeros_like(rows[0]) if bias is None else bias.astype(rows.dtype)
    if train or running_mean is None or running_var is None:
        output, mean, var = _normalize(rows, scale, shift, eps)
        unbiased = var * (len(rows) / (len(rows) - 1))
        running_mean = _moved(running_mean, mean, momentum)
        running_var = _moved(running_var, unbiased, momentum)
    else:
        mean, var = running_mean.astype(rows.dtype), running_var.astype(rows.dtype)
        output = (rows - mean) * (lax.rsqrt(var + eps) * scale) + shift
    return output.reshape(input.shape).astype(input.dtype), (running_mean, running_var)


def layer_norm(
    input: Float[Array, "..."],
    normalized_shape: Sequence[int],
    weight: Float[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    eps: Number = 1e-5,
) -> Float[Array, "..."]:
    """Computes (x - mean) / √(var + eps) · weight + bias, for each example by itself.

    `normalized_shape`, which is also that of `weight` and `bias`, names the trailing
    axes that are averaged over. The variance is the biased one (Ba, Kiros and Hinton,
    "Layer Normalization", 2016, §3). The output has the type of `input`.

    Raises ValueError where shapes, dtypes or settings do not fit together.

    >>> layer_norm(jnp.array([[1.0, 3.0], [20.0, 20.0]]), (2,)).round(3)
    Array([[-1.,  1.],
           [ 0.,  0.]], dtype=float32)
    """
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(f"normalized_shape={shape} does not end input {input.shape}")
    eps = check_setting("eps", eps, lambda e: e >= 0, "[0, inf)")
    _check_parameters(input, weight, bias, shape)

    axes = tuple(range(-len(shape), 0))
    x = at_least_float32(input)
    centered = x - x.mean(axes, keepdims=True)
    variance = (centered**2).mean(axes, keepdims=True)
    output = centered * lax.rsqrt(variance + eps)
    output = output if weight is None else output * weight.astype(x.dtype)
    output = output if bias is None else output + bias.astype(x.dtype)
    return output.astype(input.dtype)


# A custom JVP, not a custom VJP: reverse mode transposes it, and forward mode remains.
@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _normalize(rows, scale, shift, eps):
    mean = rows.mean(0)
    var = ((rows - mean) ** 2).mean(0)
    output = (rows - mean) * (lax.rsqrt(var + eps) * scale) + shift
    return output, mean, var


@_normalize.defjvp
def _normalize_jvp(eps, primals, tangents):
    """Gathers what multiplies 1, x̂ and dx, so that the transpose sums g and g·x̂ only.

    With x̂ the normalised rows and r = 1/√(var + eps),
    dy = scale·r·(dx - mean(dx) - x̂·mean(x̂·dx)) + x̂·dscale + dshift.
    """
    rows, scale, _ = primals
    drows, dscale, dshift = tangents
    output, mean, var = _normalize(*primals, eps)
    r = lax.rsqrt(var + eps)
    normalized = (rows - mean) * r
    dmean, along = drows.mean(0), (normalized * drows).mean(0)
    slope = dscale - scale * r * along
    offset = dshift - scale * r * dmean
    doutput = scale * r * drows + normalized * slope + offset
    return (output, mean, var), (doutput, dmean, 2 * along / r)


def _moved(running, batch, momentum):
    if running is None:
        return None
    moved = (1 - momentum) * running + momentum * lax.stop_gradient(batch)
    return moved.astype(running.dtype)


def _check_batch(input, running_mean, running_var, train: bool, eps: float) -> None:
    if not input.ndim:
        raise ValueError("input is a scalar; expected (..., channels)")
    if (running_mean is None) != (running_var is None):
        raise ValueError("one of running_mean and running_var is None, the other not")
    running = {"running_mean": running_mean, "running_var": running_var}
    _check_shapes(running, input.shape[-1:])
    of_batch = train or running_mean is None
    if of_batch and math.prod(input.shape[:-1]) == 1:
        raise ValueError(
            f"input {input.shape} has one value per channel: a batch's own statistics"
            " need more than 1"
        )
    if not eps >= 0 or (of_batch and eps == 0):
        raise ValueError(f"eps={eps} is not above 0")


def _known(name: str, value) -> float:
    if is_traced(value):
        raise ValueError(f"{name} is traced: give a number that is known")
    return float(value)


def _check_parameters(input, weight, bias, shape: tuple[int, ...]) -> None:
    check_floating(input=input)
    _check_shapes({"weight": weight, "bias": bias}, shape)


def _check_shapes(arrays, shape: tuple[int, ...]) -> None:
    for name, array in arrays.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    check_floating(**arrays)

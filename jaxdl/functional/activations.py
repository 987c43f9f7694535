"""Activations as torch.nn.functional computes them: values and gradients.

Taken over, since they compute what PyTorch computes at kinks and infinities too:
`elu`, `hardsigmoid`, `hardswish`, `logsigmoid`, `mish`, `relu`, `relu6`, `selu`,
`silu`, `softsign` from `jax.nn` and `tanh` from `jax.numpy`. Here as in
PyTorch, half precision is computed in float32 and rounded once. The gradients of
`relu`, `relu6` and `hardtanh` at their kinks are 0. In float64 PyTorch rounds the
1/6 of hardsigmoid's gradient and celu's 1/alpha to float32. NaN gives NaN everywhere;
the gradient there follows no rule in PyTorch, nor here.

Of the functions below, `jax.nn` has these with other numbers:

- `gelu`: there the tanh form is the default, here the exact one.
- `leaky_relu`: the gradient at 0 is 1 there and `negative_slope` here.
- `hardtanh`: the gradient at both bounds is 1 there and 0 here; there without bounds.
- `softplus`: there without `beta`, and nowhere replaced by the identity.
- `softmax`, `log_softmax`, `glu`: the same, with `axis` for `dim`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu as relu, relu6 as relu6
from jaxtyping import Array, Float, Num

from jaxdl.functional.checks import expect_array, is_traced
from jaxdl.functional.products import spread

Activation = TypeVar("Activation", bound=Callable[..., Array])


def _rounded_once(function: Activation) -> Activation:
    """Computes in float32 what is narrower, the gradient too, and rounds the result."""

    @wraps(function)
    def rounded(input: Any, *args: Any, **kwargs: Any) -> Array:
        dtype = jnp.result_type(input)
        if dtype not in (jnp.float16, jnp.bfloat16):
            return function(input, *args, **kwargs)
        return function(input.astype(jnp.float32), *args, **kwargs).astype(dtype)

    return rounded  # type: ignore[return-value]


elu = _rounded_once(jax.nn.elu)
hardsigmoid = _rounded_once(jax.nn.hard_sigmoid)
hardswish = _rounded_once(jax.nn.hard_silu)
logsigmoid = _rounded_once(jax.nn.log_sigmoid)
mish = _rounded_once(jax.nn.mish)
selu = _rounded_once(jax.nn.selu)
silu = _rounded_once(jax.nn.silu)
softsign = _rounded_once(jax.nn.soft_sign)
tanh = _rounded_once(jnp.tanh)


@_rounded_once
def sigmoid(input: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-input)), of integers too.

    >>> sigmoid(jnp.array([0, 100]))
    Array([0.5, 1. ], dtype=float32)
    """
    floating = jnp.issubdtype(jnp.result_type(input), jnp.floating)
    return jax.nn.sigmoid(input if floating else jnp.asarray(input, float))


@_rounded_once
def threshold(
    input: Float[Array, "*shape"], threshold: float, value: float
) -> Float[Array, "*shape"]:
    """`input`, and `value` where it is not above `threshold`.

    >>> threshold(jnp.array([0.5, 1.0, 2.0]), 1.0, 20.0)
    Array([20., 20.,  2.], dtype=float32)
    """
    return jnp.where(input <= threshold, value, input)


@_rounded_once
def leaky_relu(
    input: Float[Array, "*shape"], negative_slope: float = 0.01
) -> Float[Array, "*shape"]:
    """`input` where it is positive, elsewhere `negative_slope` times it.

    >>> leaky_relu(jnp.array([-2.0, 3.0]), 0.5)
    Array([-1.,  3.], dtype=float32)
    """
    return jnp.where(input > 0, input, negative_slope * input)


@_rounded_once
def celu(input: Float[Array, "*shape"], alpha: float = 1.0) -> Float[Array, "*shape"]:
    """`input` above 0, below it alpha (exp(input / alpha) - 1).

    Barron, "Continuously Differentiable Exponential Linear Units", 2017.

    Raises:
      ValueError: `alpha` is 0.

    >>> celu(jnp.array([-2.0, 2.0]), alpha=2.0)
    Array([-1.2642411,  2.       ], dtype=float32)
    """
    if alpha == 0:
        raise ValueError("alpha=0: celu divides by it")
    return jax.nn.celu(input, alpha)


def prelu(
    input: Float[Array, "*shape"],
    weight: Float[Array, " slopes"] | Float[Array, ""],
) -> Float[Array, "*shape"]:
    """`leaky_relu` with a learned slope: one for all, or one for each channel.

    Channels are the last axis (He et al., "Delving Deep into Rectifiers", 2015, §2.1).

    Raises:
      ValueError: `weight` has neither one number nor one for each channel.

    >>> prelu(jnp.array([[-2.0, -2.0]]), jnp.array([0.5, 0.25]))
    Array([[-1. , -0.5]], dtype=float32)
    """
    expect_array("weight", weight)
    if weight.size == 1:
        weight = weight.reshape(())
    elif weight.shape != input.shape[-1:]:
        raise ValueError(f"weight {weight.shape} does not fit input {input.shape}")
    return jnp.where(input > 0, 1, spread(weight, input.shape)) * input


@_rounded_once
def gelu(
    input: Float[Array, "*shape"], approximate: Literal["none", "tanh"] = "none"
) -> Float[Array, "*shape"]:
    """`input` times the probability that a standard normal number is below it.

    "tanh" is the approximation x σ(2 √(2/π) (x + 0.044715 x³)) that GPT-2 was trained
    with (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).

    Raises:
      ValueError: `approximate` is neither.

    >>> gelu(jnp.array([1.0])), gelu(jnp.array([1.0]), "tanh")
    (Array([0.8413447], dtype=float32), Array([0.841192], dtype=float32))
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate={approximate!r} is not 'none' or 'tanh'")
    return jax.nn.gelu(input, approximate=approximate == "tanh")


@_rounded_once
def softplus(
    input: Float[Array, "*shape"], beta: float = 1.0, threshold: float = 20.0
) -> Float[Array, "*shape"]:
    """log(1 + exp(beta · input)) / beta, and `input` where beta · input > `threshold`.

    >>> softplus(jnp.array([0.0, 30.0]))
    Array([ 0.6931472, 30.       ], dtype=float32)
    """
    scaled = beta * input
    return jnp.where(scaled > threshold, input, jax.nn.softplus(scaled) / beta)


def hardtanh(
    input: Float[Array, "*shape"], min_val: float = -1.0, max_val: float = 1.0
) -> Float[Array, "*shape"]:
    """`input` clipped to the bounds; its gradient on them is 0.

    Raises:
      ValueError: `min_val` exceeds `max_val`, neither of them traced.

    >>> hardtanh(jnp.array([-2.0, 0.5, 3.0]))
    Array([-1. ,  0.5,  1. ], dtype=float32)
    """
    known = not (is_traced(min_val) or is_traced(max_val))
    if known and np.asarray(min_val) > np.asarray(max_val):
        raise ValueError(f"min_val={min_val} exceeds max_val={max_val}")
    above = jnp.where(input <= min_val, min_val, input)
    return jnp.where(input >= max_val, max_val, above)


@_rounded_once
def softshrink(
    input: Float[Array, "*shape"], lambd: float = 0.5
) -> Float[Array, "*shape"]:
    """`input` moved towards 0 by `lambd`, and 0 if it is not farther from it than that.

    Raises:
      ValueError: `lambd` is negative.

    >>> softshrink(jnp.array([-2.0, 0.3, 2.0]))
    Array([-1.5,  0. ,  1.5], dtype=float32)
    """
    if lambd < 0:
        raise ValueError(f"lambd={lambd} is negative")
    shrunk = input - lambd * jnp.sign(input)
    return jnp.where(jnp.abs(input) <= lambd, 0, shrunk)


def hardshrink(
    input: Float[Array, "*shape"], lambd: float = 0.5
) -> Float[Array, "*shape"]:
    """`input`, and 0 where it is no farther from 0 than `lambd`.

    >>> hardshrink(jnp.array([-2.0, 0.3, 2.0]))
    Array([-2.,  0.,  2.], dtype=float32)
    """
    return jnp.where(jnp.abs(input) <= lambd, 0, input)


@_rounded_once
def tanhshrink(input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """input - tanh(input).

    >>> tanhshrink(jnp.array([0.0, 1.0]))
    Array([0.        , 0.23840582], dtype=float32)
    """
    return input - jnp.tanh(input)


@_rounded_once
def glu(input: Float[Array, "..."], dim: int = -1) -> Float[Array, "..."]:
    """The first half of the axis `dim`, times the sigmoid of its second half.

    Dauphin et al., "Language Modeling with Gated Convolutional Networks", 2017, §2.

    Raises:
      ValueError: there is no such axis, or its length is odd.

    >>> glu(jnp.array([4.0, 0.0]))
    Array([2.], dtype=float32)
    """
    if not -input.ndim <= dim < input.ndim:
        raise ValueError(f"dim={dim} is no axis of input {input.shape}")
    if input.shape[dim] % 2:
        raise ValueError(f"input {input.shape} cannot be halved along dim={dim}")
    return jax.nn.glu(input, axis=dim)


@_rounded_once
def softmax(input: Float[Array, "*shape"], dim: int = -1) -> Float[Array, "*shape"]:
    """exp(input) / Σ exp(input) along `dim`: positive numbers that sum to 1.

    Computed as exp(x - max x) / Σ exp(x - max x), which is the same since the factor
    exp(max x) cancels: exp(x) alone overflows in float32 from x = 89 on, while here no
    exponent is above 0 and the sum is at least 1. An input of -inf gets 0; where all
    are -inf, or one is inf, the result is NaN (-inf - -inf), as in PyTorch.

    >>> softmax(jnp.array([1000.0, 1000.0, -jnp.inf]))
    Array([0.5, 0.5, 0. ], dtype=float32)
    """
    return jax.nn.softmax(input, axis=dim)


@_rounded_once
def log_softmax(input: Float[Array, "*shape"], dim: int = -1) -> Float[Array, "*shape"]:
    """log(softmax(input)) along `dim`, in one step.

    Computed as (x - max x) - log Σ exp(x - max x). In two steps a probability below
    1e-45 is rounded to 0 in float32, its log is -inf and its gradient NaN. Where all
    inputs are -inf, or one is inf, the result is NaN, as in PyTorch.

    >>> x = jnp.array([1000.0, 0.0])
    >>> log_softmax(x), jnp.log(softmax(x))
    (Array([    0., -1000.], dtype=float32), Array([  0., -inf], dtype=float32))
    """
    return jax.nn.log_softmax(input, axis=dim)

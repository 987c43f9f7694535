"""PyTorch's initialisations as functions (key, shape, dtype) -> array.

Each factory has the name and the arguments of its namesake in torch.nn.init, without
the underscore. Kernels are (*window, in, out), where PyTorch has (out, in, *window).

PyTorch's defaults: `fan_in_uniform()` for the kernels of linear and convolutional
layers, `fan_in_uniform(fan_in)` for their biases, `fan_in_uniform(hidden_size)` for
everything in RNN, LSTM and GRU, `normal()` for embeddings.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn.initializers import ones as ones, zeros as zeros
from jax.scipy.special import ndtr, ndtri
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

Initializer = Callable[..., Array]
Number = float | int | Float[Array, ""]
Mode = Literal["fan_in", "fan_out"]

ROW = 2**20
"""numbers that are drawn in one row, at most"""
FARTHEST = 12
"""standard deviations from the mean up to which float32 has probabilities"""


def uniform(a: Number = 0.0, b: Number = 1.0) -> Initializer:
    """Draws from U(a, b).

    Raises:
      ValueError: a > b. Traced ones, as in a sweep, give NaN.

    >>> bool(abs(uniform(-2, 2)(jax.random.key(0), (100,))).max() <= 2)
    True
    """
    b = _checked(b, a <= b, f"a={a} exceeds b={b}")
    return _each(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, a, b))


def normal(mean: Number = 0.0, std: Number = 1.0) -> Initializer:
    """Draws from N(mean, std²).

    Raises:
      ValueError: std < 0. A traced one, as in a sweep, gives NaN.

    >>> normal(std=0.01)(jax.random.key(0), (3, 2), jnp.bfloat16).dtype
    dtype(bfloat16)
    """
    std = _checked(std, std >= 0, f"std={std} is below 0")
    return _each(
        lambda key, shape, dtype: mean + std * jax.random.normal(key, shape, dtype)
    )


def trunc_normal(
    mean: float | int = 0.0,
    std: float | int = 1.0,
    a: float | int = -2.0,
    b: float | int = 2.0,
) -> Initializer:
    """Draws from N(mean, std²) given that the value lies in [a, b].

    The limits are values, as in PyTorch, not multiples of std as in
    `jax.nn.initializers.truncated_normal`: by default std = 0.02 truncates nothing.

    Raises:
      ValueError: std <= 0, a >= b, or both limits are more than 12 std to one side of
        the mean, where probabilities are too small for float32.
    """
    if not std > 0:
        raise ValueError(f"std={std} is not above 0")
    if not a < b:
        raise ValueError(f"a={a} is not below b={b}")
    low, high = (a - mean) / std, (b - mean) / std
    if low > FARTHEST or high < -FARTHEST:
        raise ValueError(
            f"a={a} and b={b} are more than {FARTHEST} std to one side of the mean"
        )

    def draw(key, shape, dtype):
        if low <= 0 <= high:
            z = jax.random.truncated_normal(key, low, high, shape, dtype)
        else:
            z = _draw_tail(key, shape, dtype, low, high)
        return jnp.clip(mean + std * z, a, b)

    return _each(draw)


def _draw_tail(key, shape, dtype, low: float, high: float):
    """Draws between limits on one side of 0.

    Left of it, where probabilities are small: beside 1 they would be lost.
    """
    left, right = (-high, -low) if low > 0 else (low, high)
    wide = jnp.promote_types(dtype, jnp.float32)
    share = ndtr(jnp.array([left, right], wide))
    z = ndtri(jax.random.uniform(key, shape, wide, share[0], share[1]))
    return (-z if low > 0 else z).astype(dtype)


def constant(val: Number) -> Initializer:
    """Fills with `val`.

    >>> constant(42)(jax.random.key(0), (2,))
    Array([42., 42.], dtype=float32)
    """
    return lambda key, shape, dtype=jnp.float32: jnp.full(shape, val, dtype)


def xavier_uniform(gain: Number = 1.0) -> Initializer:
    """Draws from U(±gain √(6 / (fan_in + fan_out))).

    Source: Glorot and Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", 2010, equation 16.

    >>> kernel = xavier_uniform()(jax.random.key(0), (2, 4))
    >>> bool(abs(kernel).max() <= 1)
    True
    """
    return partial(_scaled, _centred_uniform, lambda shape: _xavier_std(gain, shape))


def xavier_normal(gain: Number = 1.0) -> Initializer:
    """Draws from N(0, gain² · 2 / (fan_in + fan_out)).

    It is not truncated, unlike `jax.nn.initializers.xavier_normal`.
    """
    return partial(_scaled, _centred_normal, lambda shape: _xavier_std(gain, shape))


def kaiming_uniform(
    a: float | int = 0.0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Initializer:
    """Draws from U(±gain √(3 / fan)), where `calculate_gain(nonlinearity, a)` is gain.

    `a` is the negative slope of "leaky_relu", and else is not used.

    Source: He et al., "Delving Deep into Rectifiers", 2015, §2.2.

    Raises:
      ValueError: there is no such mode or nonlinearity.
    """
    return partial(_scaled, _centred_uniform, _kaiming_std(a, mode, nonlinearity))


def kaiming_normal(
    a: float | int = 0.0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Initializer:
    """Draws from N(0, gain² / fan): `kaiming_uniform`'s variance, not truncated."""
    return partial(_scaled, _centred_normal, _kaiming_std(a, mode, nonlinearity))


def orthogonal(gain: Number = 1.0) -> Initializer:
    """Draws a matrix with orthonormal rows or columns, whichever are fewer, times gain.

    The matrix is the kernel with all axes but the last made one. Source: Saxe et al.,
    "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2013.

    >>> rows = orthogonal()(jax.random.key(0), (2, 5))
    >>> bool(jnp.allclose(rows @ rows.T, jnp.eye(2), atol=1e-5))
    True
    """
    draw = jax.nn.initializers.orthogonal(gain)
    return partial(
        _rounded,
        lambda key, shape, dtype: (
            jnp.zeros(shape, dtype) if 0 in shape else draw(key, shape, dtype)
        ),
    )


def fan_in_uniform(fan_in: int | None = None) -> Initializer:
    """Draws from U(-1/√fan_in, 1/√fan_in): PyTorch's default for Linear and Conv.

    PyTorch writes it as `kaiming_uniform_(a=√5)` for weights. A bias is drawn from the
    same interval as its layer's weights, so its `fan_in` has to be given.

    >>> kernel = fan_in_uniform()(jax.random.key(0), (100, 3))
    >>> bool(abs(kernel).max() <= 0.1)
    True
    """
    return partial(_fan_in_uniform, fan_in)


def calculate_gain(nonlinearity: str, param: float | int | None = None) -> float:
    """Returns the factor that PyTorch recommends before this nonlinearity.

    `param` is the negative slope of "leaky_relu", 0.01 unless given.

    Raises:
      ValueError: there is no gain for it.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    slope = 0.01 if param is None else param
    gains = {
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "selu": 3 / 4,
        "linear": 1.0,
    }
    gains |= {f"conv{n}d": 1.0 for n in (1, 2, 3)}
    gains |= {f"conv_transpose{n}d": 1.0 for n in (1, 2, 3)}
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity={nonlinearity!r} is not one of {list(gains)}")
    return gains[nonlinearity]


def fan_in_and_fan_out(shape: Sequence[int]) -> tuple[int, int]:
    """Returns how many inputs an output has, and how many outputs an input has.

    For kernels (*window, in, out) these are window · in and window · out. A grouped
    convolution's kernel holds in / groups, as in PyTorch. PyTorch keeps the kernels of
    transposed convolutions as (in, out, *window), so that its two fans are swapped.

    Raises:
      ValueError: there are fewer than 2 axes.

    >>> fan_in_and_fan_out((5, 5, 6, 16))
    (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(
            f"shape {tuple(shape)} has no fan-in and fan-out: below 2 axes"
        )
    *window, inputs, outputs = shape
    return math.prod(window) * inputs, math.prod(window) * outputs


def _xavier_std(gain: Number, shape: Sequence[int]) -> Number:
    return gain * math.sqrt(2 / sum(fan_in_and_fan_out(shape)))


def _kaiming_std(
    a: float | int, mode: Mode, nonlinearity: str
) -> Callable[[Sequence[int]], float]:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode={mode!r} is not 'fan_in' or 'fan_out'")
    gain = calculate_gain(nonlinearity, a)
    side = ("fan_in", "fan_out").index(mode)
    return lambda shape: gain / math.sqrt(fan_in_and_fan_out(shape)[side])


def _centred_uniform(std: Number) -> Initializer:
    return uniform(-math.sqrt(3) * std, math.sqrt(3) * std)


def _centred_normal(std: Number) -> Initializer:
    return normal(0.0, std)


# What the initialisers do stands apart from the factories above, which layers call at
# each of their own calls.


def _fan_in_uniform(
    fan_in: int | None,
    key: PRNGKeyArray,
    shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "..."]:
    fan = math.prod(shape[:-1]) if fan_in is None else fan_in
    bound = 1 / math.sqrt(fan) if fan else 0.0
    return uniform(-bound, bound)(key, shape, dtype)


def _scaled(
    distribution: Callable[[Number], Initializer],
    std: Callable[[Sequence[int]], Number],
    key: PRNGKeyArray,
    shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "..."]:
    """Draws with a standard deviation that follows from the shape."""
    # Arrays of nothing have fans of 0, by which nothing can be divided.
    return distribution(0.0 if 0 in shape else std(shape))(key, shape, dtype)


def _checked(value: Number, right: bool | Array, message: str) -> Number:
    """Returns the value, or NaN where a traced one is not right; raises for others."""
    if isinstance(right, jax.core.Tracer):
        return jnp.where(right, value, jnp.nan)
    if not right:
        raise ValueError(message)
    return value


def _each(draw: Initializer) -> Initializer:
    """Draws numbers that do not depend on each other."""
    return partial(_rounded, partial(_in_a_row, draw))


def _in_a_row(draw: Initializer, key, shape, dtype):
    """Draws up to `ROW` numbers in one row.

    They are the same as if drawn in their shape, which XLA's CPU backend compiles up to
    four times as long: 0.45 and 0.12 s for a kernel of 784 by 10. But a row that is
    sharded along another axis than the first is drawn whole on every device.
    """
    size = math.prod(shape)
    if size > ROW:
        return draw(key, shape, dtype)
    return draw(key, (size,), dtype).reshape(shape)


def _rounded(
    draw: Initializer,
    key: PRNGKeyArray,
    shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "..."]:
    """Draws in float32 at least and rounds, as PyTorch does.

    A normal drawn in bfloat16 takes 128 values only, none of them above 3.
    """
    return draw(key, shape, jnp.promote_types(dtype, jnp.float32)).astype(dtype)

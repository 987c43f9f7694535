"""Recurrent cells with PyTorch's equations, gate order and two biases.

Weights are PyTorch's transposed, the gates side by side in the last axis: one for RNN;
reset, update, candidate for GRU; input, forget, cell, output for LSTM.

Each cell is an update: an elementwise function that takes, for each gate, x W_ih + b_ih
and h W_hh + b_hh, and the state, whose first array is h, and returns the next state.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.functional.checks import check_floating
from jaxdl.functional.products import affine

Arrays = tuple[jax.Array, ...]
Update = Callable[[Arrays, Arrays, Arrays], Arrays]


class RecurrentWeights(NamedTuple):
    """The parameters of one layer in one direction; PyTorch's are transposed."""

    weight_ih: Float[Array, "features gates_hidden"]
    weight_hh: Float[Array, "hidden gates_hidden"]
    bias_ih: Float[Array, " gates_hidden"] | None = None
    bias_hh: Float[Array, " gates_hidden"] | None = None


def rnn_tanh_cell(
    input: Float[Array, "*batch features"],
    hx: Float[Array, "*batch hidden"],
    weight_ih: Float[Array, "features hidden"],
    weight_hh: Float[Array, "hidden hidden"],
    bias_ih: Float[Array, " hidden"] | None = None,
    bias_hh: Float[Array, " hidden"] | None = None,
) -> Float[Array, "*batch hidden"]:
    """Computes tanh(x W_ih + b_ih + h W_hh + b_hh): `torch.rnn_tanh_cell`.

    Raises ValueError where shapes or dtypes do not fit together.

    >>> one = jnp.ones((1, 1))
    >>> rnn_tanh_cell(one, one, one, one)
    Array([[0.9640276]], dtype=float32)
    """
    weights = RecurrentWeights(weight_ih, weight_hh, bias_ih, bias_hh)
    return _cell(tanh_update, input, (hx,), weights)[0]


def rnn_relu_cell(
    input: Float[Array, "*batch features"],
    hx: Float[Array, "*batch hidden"],
    weight_ih: Float[Array, "features hidden"],
    weight_hh: Float[Array, "hidden hidden"],
    bias_ih: Float[Array, " hidden"] | None = None,
    bias_hh: Float[Array, " hidden"] | None = None,
) -> Float[Array, "*batch hidden"]:
    """Computes max(0, x W_ih + b_ih + h W_hh + b_hh): `torch.rnn_relu_cell`.

    Raises ValueError where shapes or dtypes do not fit together.

    >>> one = jnp.ones((1, 1))
    >>> rnn_relu_cell(one, one, one, one)
    Array([[2.]], dtype=float32)
    """
    weights = RecurrentWeights(weight_ih, weight_hh, bias_ih, bias_hh)
    return _cell(relu_update, input, (hx,), weights)[0]


def gru_cell(
    input: Float[Array, "*batch features"],
    hx: Float[Array, "*batch hidden"],
    weight_ih: Float[Array, "features 3*hidden"],
    weight_hh: Float[Array, "hidden 3*hidden"],
    bias_ih: Float[Array, " 3*hidden"] | None = None,
    bias_hh: Float[Array, " 3*hidden"] | None = None,
) -> Float[Array, "*batch hidden"]:
    """Computes one step of a gated recurrent unit: `torch.gru_cell`.

    With the reset gate r and the update gate z, σ(x W_i + b_i + h W_h + b_h) each,

        n = tanh(x W_in + b_in + r (h W_hn + b_hn)),  h' = (1 - z) n + z h.

    Cho et al. ("Learning Phrase Representations using RNN Encoder-Decoder", 2014)
    multiply r with h before the matrix product.

    Raises ValueError where shapes or dtypes do not fit together.

    >>> one, gates = jnp.ones((1, 1)), jnp.ones((1, 3))
    >>> gru_cell(one, one, gates, gates)
    Array([[0.9945838]], dtype=float32)
    """
    weights = RecurrentWeights(weight_ih, weight_hh, bias_ih, bias_hh)
    return _cell(gru_update, input, (hx,), weights)[0]


def lstm_cell(
    input: Float[Array, "*batch features"],
    hx: tuple[Float[Array, "*batch hidden"], Float[Array, "*batch hidden"]],
    weight_ih: Float[Array, "features 4*hidden"],
    weight_hh: Float[Array, "hidden 4*hidden"],
    bias_ih: Float[Array, " 4*hidden"] | None = None,
    bias_hh: Float[Array, " 4*hidden"] | None = None,
) -> tuple[Float[Array, "*batch hidden"], Float[Array, "*batch hidden"]]:
    """Computes one step of long short-term memory: `torch.lstm_cell`.

    `hx` is (h, c). With the gates i, f, o, σ(x W_i + b_i + h W_h + b_h) each, and g,
    the same under tanh instead of σ, it returns h' and c':

        c' = f c + i g,  h' = o tanh(c').

    Raises ValueError where shapes or dtypes do not fit together.

    >>> one, gates = jnp.ones((1, 1)), jnp.ones((1, 4))
    >>> lstm_cell(one, (one, one), gates, gates)[1]
    Array([[1.7299097]], dtype=float32)
    """
    weights = RecurrentWeights(weight_ih, weight_hh, bias_ih, bias_hh)
    h, c = _cell(lstm_update, input, hx, weights)
    return h, c


def tanh_update(inputs: Arrays, products: Arrays, state: Arrays) -> Arrays:
    return (jnp.tanh(inputs[0] + products[0]),)


def relu_update(inputs: Arrays, products: Arrays, state: Arrays) -> Arrays:
    return (jax.nn.relu(inputs[0] + products[0]),)


def gru_update(inputs: Arrays, products: Arrays, state: Arrays) -> Arrays:
    reset = jax.nn.sigmoid(inputs[0] + products[0])
    update = jax.nn.sigmoid(inputs[1] + products[1])
    candidate = jnp.tanh(inputs[2] + reset * products[2])
    return (candidate + update * (state[0] - candidate),)


def lstm_update(inputs: Arrays, products: Arrays, state: Arrays) -> Arrays:
    i, f, g, o = (x + h for x, h in zip(inputs, products, strict=True))
    cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


GATES: dict[Update, int] = {
    tanh_update: 1,
    relu_update: 1,
    gru_update: 3,
    lstm_update: 4,
}
SUMS: dict[Update, int] = {
    tanh_update: 1,
    relu_update: 1,
    gru_update: 2,
    lstm_update: 4,
}
"""how many gates, the first, need no more than the sum of input and product"""


def by_gate(x, weight, bias, gates: int) -> Arrays:
    """Computes x W + b in one product and returns it gate by gate."""
    return tuple(jnp.split(affine(x, weight, bias), gates, axis=-1))


def check_weights(weights: RecurrentWeights, features: int, gates: int, dtype) -> None:
    """Raises ValueError unless the weights fit together, the input and the cell."""
    hidden = weights.weight_hh.shape[0] if weights.weight_hh.ndim else 0
    expected = {
        "weight_ih": (features, gates * hidden),
        "weight_hh": (hidden, gates * hidden),
        "bias_ih": (gates * hidden,),
        "bias_hh": (gates * hidden,),
    }
    for name, shape in expected.items():
        array = getattr(weights, name)
        if array is not None:
            check_array(name, array, shape, dtype)


def check_array(name: str, array, shape: tuple[int, ...], dtype) -> None:
    """Raises ValueError unless the array has this shape and dtype."""
    if not hasattr(array, "shape"):
        kind = type(array).__name__
        raise ValueError(f"{name} is a {kind}; expected an array of shape {shape}")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    if array.dtype != dtype:
        raise ValueError(f"{name} has dtype {array.dtype}, input {dtype}")


def check_is_array(input, axes: str) -> None:
    """Raises ValueError for what has no shape, such as a packed sequence."""
    if not hasattr(input, "shape"):
        kind = type(input).__name__
        packed = ": give it padded, with its lengths" if "Packed" in kind else ""
        raise ValueError(f"input is a {kind}; expected an array, {axes}{packed}")


def check_input(input, ndims: tuple[int, ...], axes: str) -> None:
    """Raises ValueError unless the input is floating and has that many axes."""
    check_is_array(input, axes)
    if input.ndim not in ndims:
        raise ValueError(f"input has shape {input.shape}; expected {axes}")
    check_floating(input=input)


def _cell(update: Update, input, state: Arrays, weights: RecurrentWeights) -> Arrays:
    gates = GATES[update]
    check_input(input, (1, 2), "(features,) or (batch, features)")
    check_weights(weights, input.shape[-1], gates, input.dtype)
    shape = (*input.shape[:-1], weights.weight_hh.shape[0])
    for array in state:
        check_array("hx", array, shape, input.dtype)
    inputs = by_gate(input, weights.weight_ih, weights.bias_ih, gates)
    products = by_gate(state[0], weights.weight_hh, weights.bias_hh, gates)
    return update(inputs, products, state)

"""Recurrent networks over padded sequences, with PyTorch's results for packed ones.

LSTM's `proj_size` is left out.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxdl.functional.checks import Number, at_least_float32, check_share, widened
from jaxdl.functional.dropout import dropout as drop, drops
from jaxdl.functional.packing import check_lengths
from jaxdl.functional.recurrent_cells import (
    GATES,
    RecurrentWeights,
    Update,
    by_gate,
    check_array,
    check_input,
    check_weights,
    gru_update,
    lstm_update,
    relu_update,
    tanh_update,
)
from jaxdl.functional.recurrent_packed import in_lanes, run_packed

Sequences = Float[Array, "*time_batch features"]
Outputs = Float[Array, "*time_batch directions_hidden"]
State = Float[Array, "layers_directions *state_batch hidden"]

AXES = "(time, features) or three axes with the batch"


def rnn(
    input: Sequences,
    weights: Sequence[RecurrentWeights],
    hx: State | None = None,
    lengths: Int[Array, " batch"] | Sequence[int] | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    *,
    batch_first: bool = False,
    dropout: Number = 0.0,
    bidirectional: bool = False,
    train: bool | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[Outputs, State]:
    """Runs `rnn_tanh_cell` or `rnn_relu_cell` over sequences; otherwise as `gru`.

    Raises:
      ValueError: as `gru`, or there is no such `nonlinearity`.
    """
    updates = {"tanh": tanh_update, "relu": relu_update}
    if nonlinearity not in updates:
        raise ValueError(f"nonlinearity={nonlinearity!r} is not 'tanh' or 'relu'")
    states = None if hx is None else (hx,)
    drop_between = _dropout(dropout, train, key)
    output, (h_n,) = _run(
        updates[nonlinearity], input, weights, states, lengths, batch_first,
        bidirectional, drop_between,
    )  # fmt: skip
    return output, h_n


def gru(
    input: Sequences,
    weights: Sequence[RecurrentWeights],
    hx: State | None = None,
    lengths: Int[Array, " batch"] | Sequence[int] | None = None,
    *,
    batch_first: bool = False,
    dropout: Number = 0.0,
    bidirectional: bool = False,
    train: bool | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[Outputs, State]:
    """Runs `gru_cell` over sequences in one or more layers; returns (output, h_n).

    `input` is (time, batch, features), or (batch, time, features) with `batch_first`,
    or one sequence (time, features). `weights` has one entry for each layer, two with
    `bidirectional`: forward, then backward. Output is the last layer's h at every step,
    both directions side by side. h_n and `hx`, which is 0 by default, are (layers ·
    directions, batch, hidden), never batch first.

    With `lengths` the result is that of packing, running and padding again in PyTorch,
    in any order of lengths: steps past the length do not count, whatever they hold, and
    get no gradient; output is 0 there, h_n is the state at each sequence's last step,
    and the backward direction starts there. The output has as many steps as the input;
    PyTorch's, where `total_length` is not given, as the longest length.

    `dropout` is applied to the output of every layer but the last, so with one layer
    not at all; where it is not 0, `train` has to be given, and a `key` to train.

    Raises:
      ValueError: shapes, dtypes or the number of weights do not fit; `dropout` lies
        outside of [0, 1] or lacks `train` or `key`; or a length outside of 1..time.
        Lengths can only be looked at outside of jit; inside, such a sequence gives NaN.

    >>> weights = RecurrentWeights(jnp.ones((1, 3)), jnp.ones((1, 3)))
    >>> output, h_n = gru(jnp.ones((2, 3, 1)), [weights], lengths=jnp.array([1, 2, 1]))
    >>> output[..., 0]
    Array([[0.20482421, 0.20482421, 0.20482421],
           [0.        , 0.34675312, 0.        ]], dtype=float32)
    """
    states = None if hx is None else (hx,)
    drop_between = _dropout(dropout, train, key)
    output, (h_n,) = _run(
        gru_update, input, weights, states, lengths, batch_first, bidirectional,
        drop_between,
    )  # fmt: skip
    return output, h_n


def lstm(
    input: Sequences,
    weights: Sequence[RecurrentWeights],
    hx: tuple[State, State] | None = None,
    lengths: Int[Array, " batch"] | Sequence[int] | None = None,
    *,
    batch_first: bool = False,
    dropout: Number = 0.0,
    bidirectional: bool = False,
    train: bool | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[Outputs, tuple[State, State]]:
    """Runs `lstm_cell` over sequences as `gru` does; returns (output, (h_n, c_n)).

    `hx` is (h, c). Raises ValueError as `gru`.
    """
    drop_between = _dropout(dropout, train, key)
    output, (h_n, c_n) = _run(
        lstm_update, input, weights, hx, lengths, batch_first, bidirectional,
        drop_between,
    )  # fmt: skip
    return output, (h_n, c_n)


def _run(
    update: Update,
    input,
    weights,
    hx,
    lengths,
    batch_first: bool,
    bidirectional: bool,
    drop_between,
):
    """Runs all layers; returns the output and the last states."""
    check_input(input, (2, 3), AXES)
    batched = input.ndim == 3
    swap = batched and batch_first
    x = input if batched else input[:, None]
    x = jnp.swapaxes(x, 0, 1) if swap else x
    directions = 2 if bidirectional else 1
    _check_weights(update, x, weights, directions)
    initial = _initial(update, x, weights, hx, batched)
    x, lengths = _without_padding(x, lengths, batched)

    finals = []
    for i in range(0, len(weights), directions):
        x = drop_between(x, i // directions) if i else x
        each = list(weights[i : i + directions])
        states = [
            _as_loops_return(tuple(array[i + j] for array in initial), x, each)
            for j in range(directions)
        ]
        whole = jax.typeof(_zero(states[0][0])) == jax.typeof(jnp.zeros((), x.dtype))
        run = partial(run_packed, _layer) if whole and in_lanes(lengths) else _layer
        x, last = run(update, (x, each, states), lengths)
        finals += last

    last = tuple(map(jnp.stack, zip(*finals, strict=True)))
    if not batched:
        return x[:, 0], tuple(array[:, 0] for array in last)
    return jnp.swapaxes(x, 0, 1) if swap else x, last


def _as_loops_return(states, x, weights):
    """Returns states of the type that those computed from x and the weights have.

    Inside `jax.shard_map` the type tells whether an array differs among devices.
    """
    for array in jax.tree.leaves((x, weights, states)):
        zero = _zero(array)
        states = tuple(
            state if jax.typeof(_zero(state)) == jax.typeof(zero) else state + zero
            for state in states
        )
    return states


def _zero(array):
    """Returns a zero that differs among devices, to JAX, where the array does."""
    return jnp.zeros_like(array, shape=(), dtype=jnp.result_type(array))


def _layer(update: Update, operands, lengths):
    """Runs one layer in all directions; returns its output and the last states."""
    x, weights, states = operands
    running = None if lengths is None else _running(x, lengths)
    outputs, finals = [], []
    for i, (each, state) in enumerate(zip(weights, states, strict=True)):
        output, final = _scan(update, x, each, state, running, backward=i == 1)
        outputs.append(output)
        finals.append(final)
    return jnp.concatenate(outputs, axis=-1), finals


def _scan(update: Update, x, weights, initial, running, backward: bool):
    """Runs one layer in one direction; returns h at every step and the last state.

    A sequence that does not run keeps its state: the forward direction then ends with
    that of the last step, and the backward direction starts there.
    """
    gates = GATES[update]
    # Gates apart: XLA's CPU backend is slow where a loop slices them from one array.
    inputs = by_gate(x, weights.weight_ih, weights.bias_ih, gates)
    # In float32 outside of the loop, where the gradients of its steps are added up.
    of_state = weights.weight_hh, weights.bias_hh
    wide = jax.tree.map(at_least_float32, of_state)

    def step(state, step_inputs):
        inputs, running = step_inputs
        weight, bias = jax.tree.map(lambda a, own: a.astype(own.dtype), wide, of_state)
        products = by_gate(state[0], weight, bias, gates)
        later = update(inputs, products, state)
        if running is None:
            return later, later[0]
        later = tuple(
            jnp.where(running, new, old) for new, old in zip(later, state, strict=True)
        )
        return later, jnp.where(running, later[0], 0)

    final, output = lax.scan(step, initial, (inputs, running), reverse=backward)
    return output, final


def _running(x, lengths):
    """Whether a sequence has not ended, (time, batch, 1)."""
    return (jnp.arange(len(x))[:, None] < lengths)[..., None]


def _without_padding(x, lengths, batched: bool):
    """Returns x with zeros for padding, and the lengths.

    Zeros, since not even the gradient of a step that is ignored may meet a NaN. A
    sequence of a wrong length becomes NaN, in all its steps.
    """
    if lengths is None:
        return x, None
    if not batched:
        raise ValueError("lengths need a batch of sequences; the input is one sequence")
    steps, batch = x.shape[:2]
    if not hasattr(lengths, "dtype"):  # a list, of known values inside jit, too
        lengths = np.asarray(lengths)
    lengths = widened(lengths)
    right = check_lengths(lengths, steps, batch)
    lengths = jnp.where(right, lengths, steps)
    x = jnp.where(_running(x, lengths), x, 0)
    return jnp.where(right[:, None], x, jnp.nan), lengths


def _dropout(p, train, key):
    """Returns the function that drops out before a layer."""
    p = check_share("dropout", p)
    if not drops(p):
        return lambda x, layer: x
    if train is None:
        raise ValueError(f"dropout={p} needs train=True or train=False")
    if train and key is None:
        raise ValueError(f"dropout={p} with train=True needs a key")
    return lambda x, layer: drop(
        x, p, train=train, key=jax.random.fold_in(key, layer) if train else None
    )


def _check_weights(update: Update, x, weights, directions: int) -> None:
    if not weights or len(weights) % directions:
        raise ValueError(
            f"there are weights for {len(weights)} layers and directions; expected"
            f" {directions} for each layer"
        )
    if not len(x):
        raise ValueError("input has no time steps")
    features, hidden = x.shape[-1], weights[0].weight_hh.shape[0]
    for i, each in enumerate(weights):
        size = features if i < directions else directions * hidden
        check_weights(each, size, GATES[update], x.dtype)
        if each.weight_hh.shape[0] != hidden:
            raise ValueError(
                f"weights {i} have hidden size {each.weight_hh.shape[0]}, the first"
                f" {hidden}"
            )


def _initial(update: Update, x, weights, hx, batched: bool):
    arrays = 2 if update is lstm_update else 1
    hidden = weights[0].weight_hh.shape[0]
    shape = (len(weights), x.shape[1], hidden)
    if hx is None:
        return (jnp.zeros(shape, x.dtype),) * arrays
    for array in hx:
        expected = shape if batched else (shape[0], hidden)
        check_array("hx", array, expected, x.dtype)
    return tuple(array.reshape(shape) for array in hx)

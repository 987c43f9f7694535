"""Recurrent layers with PyTorch's parameters, defaults and default initialisation.

Parameters have PyTorch's names (weight_ih_l0, ..., bias_hh_l1_reverse), with matrices
transposed, (in, gates · hidden), and all start from U(±1/√hidden). Inputs and states
are promoted with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from jaxdl.functional import recurrent as F, recurrent_cells as cells
from jaxdl.functional.checks import Number
from jaxdl.functional.dropout import drops
from jaxdl.functional.recurrent import AXES, Outputs, Sequences, State
from jaxdl.functional.recurrent_cells import RecurrentWeights, check_is_array
from jaxdl.initializers import fan_in_uniform
from jaxdl.layers.inputs import check_inputs


class _Recurrent(nn.Module):
    """What RNN, GRU and LSTM share: arguments, parameters and the call."""

    hidden_size: int
    _: KW_ONLY
    num_layers: int = 1
    use_bias: bool = True
    batch_first: bool = False
    dropout: Number = 0.0
    bidirectional: bool = False

    def _run(self, function: Callable[..., Any], gates: int, x, hx, lengths, train):
        check_is_array(x, AXES)
        _check_positive("num_layers", self.num_layers)
        features, weights = x.shape[-1], []
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                suffix = f"_l{layer}{suffix}"
                weights.append(_weights(self, features, gates, suffix))
            features = (1 + self.bidirectional) * self.hidden_size
        x, hx, weights = _promote(x, hx, weights)
        return function(
            x,
            weights,
            hx,
            lengths,
            batch_first=self.batch_first,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            train=train,
            key=self.make_rng("dropout") if train and drops(self.dropout) else None,
        )


class RNN(_Recurrent):
    """Runs a network of tanh or relu cells: `jaxdl.functional.rnn`.

    Arguments, beside `use_bias`, are those of torch.nn.RNN; the input size comes from
    the input. Call as `layer(x, hx, lengths)`; where `dropout` is not 0 also with
    `train`, and with a key for the collection "dropout" to train.

    Raises:
      ValueError: as `jaxdl.functional.rnn`, a size is below 1, or `x` has not the
        features that the parameters were made for.
    """

    _: KW_ONLY
    nonlinearity: Literal["tanh", "relu"] = "tanh"

    @nn.compact
    def __call__(
        self,
        x: Sequences,
        hx: State | None = None,
        lengths: Int[Array, " batch"] | Sequence[int] | None = None,
        *,
        train: bool | None = None,
    ) -> tuple[Outputs, State]:
        function = partial(F.rnn, nonlinearity=self.nonlinearity)
        return self._run(function, 1, x, hx, lengths, train)


class GRU(_Recurrent):
    """Runs a network of GRU cells: `jaxdl.functional.gru`. Otherwise as `RNN`."""

    _: KW_ONLY  # of what Flax adds

    @nn.compact
    def __call__(
        self,
        x: Sequences,
        hx: State | None = None,
        lengths: Int[Array, " batch"] | Sequence[int] | None = None,
        *,
        train: bool | None = None,
    ) -> tuple[Outputs, State]:
        return self._run(F.gru, 3, x, hx, lengths, train)


class LSTM(_Recurrent):
    """Runs a network of LSTM cells, hx being (h, c): `jaxdl.functional.lstm`.

    Otherwise as `RNN`. The forget gate's bias does not start at 1, as in PyTorch.
    """

    _: KW_ONLY

    @nn.compact
    def __call__(
        self,
        x: Sequences,
        hx: tuple[State, State] | None = None,
        lengths: Int[Array, " batch"] | Sequence[int] | None = None,
        *,
        train: bool | None = None,
    ) -> tuple[Outputs, tuple[State, State]]:
        return self._run(F.lstm, 4, x, hx, lengths, train)


Inputs = Float[Array, "*batch features"]
Hidden = Float[Array, "*batch hidden"]


class RNNCell(nn.Module):
    """Computes one step with tanh or relu; `hx` starts as 0.

    Raises:
      ValueError: as `jaxdl.functional.rnn_tanh_cell`, a size is below 1, there is no
        such `nonlinearity`, or `x` has not the features that the parameters were made
        for.
    """

    hidden_size: int
    _: KW_ONLY
    use_bias: bool = True
    nonlinearity: Literal["tanh", "relu"] = "tanh"

    @nn.compact
    def __call__(self, x: Inputs, hx: Hidden | None = None) -> Hidden:
        functions = {"tanh": cells.rnn_tanh_cell, "relu": cells.rnn_relu_cell}
        if self.nonlinearity not in functions:
            raise ValueError(
                f"nonlinearity={self.nonlinearity!r} is not 'tanh' or 'relu'"
            )
        x, hx, [weights] = _promote(x, hx, [_weights(self, x.shape[-1], 1)])
        hx = _zeros(self, x) if hx is None else hx
        return functions[self.nonlinearity](x, hx, *weights)


class GRUCell(nn.Module):
    """Computes one step: `jaxdl.functional.gru_cell`. Otherwise as `RNNCell`."""

    hidden_size: int
    _: KW_ONLY
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Inputs, hx: Hidden | None = None) -> Hidden:
        x, hx, [weights] = _promote(x, hx, [_weights(self, x.shape[-1], 3)])
        return cells.gru_cell(x, _zeros(self, x) if hx is None else hx, *weights)


class LSTMCell(nn.Module):
    """Computes one step of (h, c): `jaxdl.functional.lstm_cell`. Else as `RNNCell`."""

    hidden_size: int
    _: KW_ONLY
    use_bias: bool = True

    @nn.compact
    def __call__(
        self, x: Inputs, hx: tuple[Hidden, Hidden] | None = None
    ) -> tuple[Hidden, Hidden]:
        x, hx, [weights] = _promote(x, hx, [_weights(self, x.shape[-1], 4)])
        hx = (_zeros(self, x),) * 2 if hx is None else hx
        return cells.lstm_cell(x, hx, *weights)


def _weights(
    module: Any, features: int, gates: int, suffix: str = ""
) -> RecurrentWeights:
    """Makes or reads the parameters of one layer in one direction."""
    _check_positive("hidden_size", module.hidden_size)
    width = gates * module.hidden_size
    shapes: dict[str, tuple[int, ...]]
    shapes = {"weight_ih": (features, width), "weight_hh": (module.hidden_size, width)}
    if module.use_bias:
        shapes |= {"bias_ih": (width,), "bias_hh": (width,)}
    check_inputs(module, "input features", features, f"weight_ih{suffix}")
    init = fan_in_uniform(module.hidden_size)
    return RecurrentWeights(
        **{name: module.param(name + suffix, init, s) for name, s in shapes.items()}
    )


def _promote(x, hx, weights):
    """Gives the input, the state and the weights the widest of their types."""
    leaves, tree = jax.tree.flatten((x, hx, weights))
    return jax.tree.unflatten(tree, promote_dtype(*leaves))


def _zeros(module, x):
    return jnp.zeros((*x.shape[:-1], module.hidden_size), x.dtype)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}={value} is below 1")

"""Recurrent networks that read letters: a name's country, a word turned into another.

Submodules have the names that they have in the lectures *PyTorch 深度学习实践* (Liu Er,
lectures 12 and 13), so their parameters have PyTorch's paths.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxdl.layers import (
    GRU,
    LSTM,
    RNN,
    Embedding,
    GRUCell,
    Linear,
    LSTMCell,
    RNNCell,
)

Cell = Literal["rnn", "gru", "lstm"]
NETWORKS: dict[str, Any] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
CELLS: dict[str, Any] = {"rnn": RNNCell, "gru": GRUCell, "lstm": LSTMCell}


class RecurrentClassifier(nn.Module):
    """Classifies padded sequences of symbols by the last state of a recurrent network.

    The symbols are looked up as vectors of `hidden_size`, the network runs over them,
    and a linear layer sees the last layer's state at the end of each sequence: as the
    lecture has it, that of the backward direction first, then the forward one's. An
    LSTM's state is its h. The result is that of PyTorch's `pack_padded_sequence`, in
    any order of lengths, whatever the padding holds.

    Raises:
      ValueError: there is no such `cell`, the symbols are not (batch, time), or a size
        is below 1. Outside of jit also a symbol outside of 0..vocabulary_size-1, or a
        length outside of 1..time; inside, such a sequence gives NaN.
    """

    num_classes: int
    vocabulary_size: int = 128
    hidden_size: int = 100
    num_layers: int = 2
    bidirectional: bool = True
    cell: Cell = "gru"

    @nn.compact
    def __call__(
        self, x: Int[Array, "batch time"], lengths: Int[Array, " batch"] | Sequence[int]
    ) -> Float[Array, "batch classes"]:
        if x.ndim != 2:
            raise ValueError(f"symbols are needed as (batch, time), not {x.shape}")
        network = _choose(NETWORKS, self.cell)(
            self.hidden_size,
            num_layers=self.num_layers,
            batch_first=True,
            bidirectional=self.bidirectional,
            name=self.cell,
        )
        vectors = Embedding(self.vocabulary_size, self.hidden_size, name="embedding")(x)
        h_n = _hidden(network(vectors, None, lengths)[1])
        last = h_n[-1]
        if self.bidirectional:
            last = jnp.concatenate([h_n[-1], h_n[-2]], axis=-1)
        return Linear(self.num_classes, name="fc")(last)


class CharCell(nn.Module):
    """Reads one letter: the next state, whose h is a logit for each letter.

    `x` is the letter as a one-hot vector, and the state starts as 0; an LSTM's is the
    pair (h, c). The submodule is `rnncell`, `grucell` or `lstmcell`.

    Raises:
      ValueError: there is no such `cell`, or as `jaxdl.layers.RNNCell`.
    """

    hidden_size: int = 4
    cell: Cell = "rnn"

    @nn.compact
    def __call__(self, x: Float[Array, "batch features"], state: Any = None) -> Any:
        cell = _choose(CELLS, self.cell)
        return cell(self.hidden_size, name=f"{self.cell}cell")(x, state)


class CharRNN(nn.Module):
    """Reads a word of one-hot letters: the last layer's h at each is its logits.

    With one layer this is `CharCell` applied letter by letter. The submodule is `rnn`,
    `gru` or `lstm`.

    Raises:
      ValueError: there is no such `cell`, or as `jaxdl.layers.RNN`.
    """

    hidden_size: int = 4
    num_layers: int = 1
    cell: Cell = "rnn"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time features"]
    ) -> Float[Array, "batch time hidden"]:
        network = _choose(NETWORKS, self.cell)
        return network(
            self.hidden_size,
            num_layers=self.num_layers,
            batch_first=True,
            name=self.cell,
        )(x)[0]


class CharEmbeddingRNN(nn.Module):
    """Reads a word of letters by number: looked up as vectors, with a layer on top.

    So neither the vectors nor the states need be as long as there are letters. The
    submodules are `emb`, `fc`, and `rnn`, `gru` or `lstm`.

    Raises:
      ValueError: there is no such `cell`, or a size is below 1. Outside of jit also a
        letter outside of 0..vocabulary_size-1; inside, its logits are NaN.
    """

    num_classes: int = 4
    vocabulary_size: int = 4
    embedding_size: int = 10
    hidden_size: int = 8
    num_layers: int = 2
    cell: Cell = "rnn"

    @nn.compact
    def __call__(
        self, x: Int[Array, "batch time"]
    ) -> Float[Array, "batch time classes"]:
        vectors = Embedding(self.vocabulary_size, self.embedding_size, name="emb")(x)
        network = _choose(NETWORKS, self.cell)(
            self.hidden_size,
            num_layers=self.num_layers,
            batch_first=True,
            name=self.cell,
        )
        return Linear(self.num_classes, name="fc")(network(vectors)[0])


def _choose(modules: dict[str, Any], cell: str) -> Any:
    if cell not in modules:
        raise ValueError(f"cell={cell!r} is none of {', '.join(modules)}")
    return modules[cell]


def _hidden(state: Any) -> Array:
    """Returns h, which an LSTM's state holds beside c."""
    return state[0] if isinstance(state, tuple) else state

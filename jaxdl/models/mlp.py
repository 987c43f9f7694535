"""Multilayer perceptrons.

Linear and softmax regression are one layer and need no class: `jaxdl.layers.Linear`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import relu
from jaxdl.functional.checks import Number
from jaxdl.layers import Dropout, Linear, Sequential
from jaxdl.models.inputs import flatten

Features = Float[Array, "*batch features"]
Outputs = Float[Array, "*batch outputs"]
Activation = Callable[[Array], Array]


class MLP(nn.Module):
    """Linear layers of the given widths, the last of them the outputs.

    After each but the last comes the activation, then dropout with that layer's
    probability where `dropout` is given; a number is all layers'. Inputs are flattened.
    Layers have the names that PyTorch gives them in Sequential(Flatten(), Linear(...),
    ReLU(), Dropout(...), Linear(...)), or else `names`. With `dropout` the call needs
    `train`, and a key for the collection "dropout" to train.

    Raises:
      ValueError: there are no widths, or not as many probabilities or names as layers
        to have them; `train` is missing; or `x` has not the features that the
        parameters were made for.

    >>> import jax
    >>> model = MLP((512, 256, 10), dropout=(0.2, 0.5))
    >>> image = jax.numpy.ones((1, 28, 28, 1))
    >>> variables = model.init(jax.random.key(0), image, train=False)
    >>> list(variables["params"])
    ['1', '4', '7']
    >>> diabetes = MLP((6, 4, 1), jax.nn.sigmoid, last_activation=jax.nn.sigmoid)
    """

    widths: Sequence[int]
    activation: Activation = relu
    dropout: Number | Sequence[Number] | None = None
    last_activation: Activation | None = None
    names: Sequence[str] | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *sizes"], *, train: bool | None = None
    ) -> Float[Array, "batch outputs"]:
        names, probabilities = self._names(), self._probabilities()
        x = flatten(x)
        for i, width in enumerate(self.widths):
            x = Linear(width, name=names[i])(x)
            if i == len(self.widths) - 1:
                break
            x = self.activation(x)
            if probabilities is not None:
                if train is None:
                    raise ValueError("MLP with dropout needs train=True or train=False")
                x = Dropout(probabilities[i], name=f"dropout{i + 1}")(x, train=train)
        return x if self.last_activation is None else self.last_activation(x)

    def _names(self) -> Sequence[str]:
        if not self.widths:
            raise ValueError("widths=() has no layers")
        if self.names is None:
            step = 2 if self.dropout is None else 3
            return [str(1 + step * i) for i in range(len(self.widths))]
        if len(self.names) != len(self.widths):
            raise ValueError(
                f"names={tuple(self.names)} are not one for each of the"
                f" {len(self.widths)} layers"
            )
        return self.names

    def _probabilities(self) -> Sequence[Number] | None:
        hidden = len(self.widths) - 1
        if self.dropout is None:
            return None
        given: Any = self.dropout
        if not isinstance(given, Sequence) and np.ndim(given) == 0:
            return [given] * hidden
        if len(given) != hidden:
            raise ValueError(
                f"dropout={tuple(given)} is not one probability for each of the"
                f" {hidden} hidden layers"
            )
        return [*given]


class MyNN(nn.Module):
    """Two hidden layers of 16 and 8 units and one output, the sublayer `layers`."""

    @nn.compact
    def __call__(self, x: Features) -> Outputs:
        layers = Sequential(
            [Linear(16), relu, Linear(8), relu, Linear(1)], name="layers"
        )
        return layers(x)


class BasicBlock(nn.Module):
    """A linear layer and ReLU, the sublayer `block`."""

    features: int

    @nn.compact
    def __call__(self, x: Features) -> Outputs:
        return Sequential([Linear(self.features), relu], name="block")(x)


class Classifier(nn.Module):
    """Blocks built in a loop, and a linear layer: the sublayer `fc`.

    One block leads to `hidden_dim` and `hidden_layers` more keep it, so the default has
    two hidden layers.

    Raises:
      ValueError: `hidden_layers` is negative, or `x` has not the features that the
        parameters were made for.
    """

    output_dim: int = 41
    hidden_layers: int = 1
    hidden_dim: int = 256

    @nn.compact
    def __call__(self, x: Features) -> Outputs:
        if self.hidden_layers < 0:
            raise ValueError(f"hidden_layers={self.hidden_layers} is below 0")
        blocks = [BasicBlock(self.hidden_dim) for _ in range(1 + self.hidden_layers)]
        return Sequential([*blocks, Linear(self.output_dim)], name="fc")(x)
